/* One vocabulary for Lua 5.4 and the Lua 5.1 ABI (PUC 5.1, LuaJIT): 5.4's
 * names, made from 5.1's functions where they are missing. */
#ifndef AW_COMPAT_H
#define AW_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM != 504 && LUA_VERSION_NUM != 501
#error "agentwire needs LuaJIT or Lua 5.4"
#endif

#if LUA_VERSION_NUM >= 504

/* A user value keeps an object alive as long as its userdata. The value must
 * be a table, because 5.1 takes nothing else. aw_lua_setuservalue pops it. */
static inline void aw_lua_setuservalue(lua_State *L, int userdata) {
  lua_setiuservalue(L, userdata, 1);
}

/* Pushes the table. Without an earlier set: nil on 5.4, some table on 5.1. */
static inline void aw_lua_getuservalue(lua_State *L, int userdata) {
  lua_getiuservalue(L, userdata, 1);
}

#else

/* LuaJIT's headers declare some of these names, PUC's do not: macros replace
 * both without a clash. */
#undef luaL_newlib
#undef luaL_setfuncs
#undef luaL_testudata
#undef lua_absindex
#undef lua_rawlen
#define luaL_setfuncs aw_lua_setfuncs
#define luaL_testudata aw_lua_testudata
#define lua_absindex aw_lua_absindex
#define lua_rawgetp aw_lua_rawgetp
#define lua_rawsetp aw_lua_rawsetp
#define lua_rawlen lua_objlen
#define lua_isinteger(L, index) 0
#define lua_newuserdatauv(L, size, values) lua_newuserdata(L, size)
#define luaL_newlib(L, functions)                                              \
  (lua_newtable(L), luaL_setfuncs(L, functions, 0))

static inline void aw_lua_setuservalue(lua_State *L, int userdata) {
  lua_setfenv(L, userdata);
}

static inline void aw_lua_getuservalue(lua_State *L, int userdata) {
  lua_getfenv(L, userdata);
}

static inline int aw_lua_absindex(lua_State *L, int index) {
  return index > 0 || index <= LUA_REGISTRYINDEX ? index
                                                 : lua_gettop(L) + index + 1;
}

static inline void aw_lua_setfuncs(lua_State *L, const luaL_Reg *functions,
                                   int upvalues) {
  luaL_checkstack(L, upvalues + 1, "too many upvalues");
  for (; functions->name != NULL; functions++) {
    for (int i = 0; i < upvalues; i++) {
      lua_pushvalue(L, -upvalues);
    }
    lua_pushcclosure(L, functions->func, upvalues);
    lua_setfield(L, -(upvalues + 2), functions->name);
  }
  lua_pop(L, upvalues);
}

static inline void *aw_lua_testudata(lua_State *L, int index,
                                     const char *name) {
  void *userdata = lua_touserdata(L, index);
  if (userdata == NULL || !lua_getmetatable(L, index)) {
    return NULL;
  }
  luaL_getmetatable(L, name);
  if (!lua_rawequal(L, -1, -2)) {
    userdata = NULL;
  }
  lua_pop(L, 2);
  return userdata;
}

static inline void aw_lua_rawgetp(lua_State *L, int index, const void *key) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)key);
  lua_rawget(L, index);
}

static inline void aw_lua_rawsetp(lua_State *L, int index, const void *key) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)key);
  lua_insert(L, -2);
  lua_rawset(L, index);
}

#endif
#endif
