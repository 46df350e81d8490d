/* The module agentwire.core: the door between Lua and the C core. Everything
 * with a coroutine in it is in lua/agentwire. */
#include "aw_error.h"
#include "aw_fetch.h"
#include "aw_line_inbox.h"
#include "aw_lua.h"
#include "aw_lua_json.h"
#include "aw_os_clock.h"
#include "aw_os_file.h"
#include "aw_os_terminal.h"
#include <lauxlib.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>

__attribute__((visibility("default"))) int luaopen_agentwire_core(lua_State *L);

/* wall_ms() -> milliseconds since the epoch */
static int wall_ms(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)aw_os_wall_ms());
  return 1;
}

/* monotonic_us() -> microseconds, monotonic, not tied to a loop's turn */
static int monotonic_us(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)(uv_hrtime() / 1000));
  return 1;
}

/* is_terminal(fd) -> boolean */
static int is_terminal(lua_State *L) {
  lua_pushboolean(L, aw_os_is_terminal((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* terminal_columns(fd) -> how wide the terminal is, nil where nobody knows */
static int terminal_columns(lua_State *L) {
  int columns = aw_os_terminal_columns((int)luaL_checkinteger(L, 1));
  if (columns == 0) {
    return 0;
  }
  lua_pushinteger(L, columns);
  return 1;
}

static void set_text(lua_State *L, const char *key, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

/* libraries() -> of what runs here: libuv and openssl, their versions, and
 * where OpenSSL looks for the certificates of authorities */
static int libraries(lua_State *L) {
  lua_createtable(L, 0, 4);
  set_text(L, "libuv", uv_version_string());
  set_text(L, "openssl", OpenSSL_version(OPENSSL_VERSION));
  set_text(L, "cert_file", X509_get_default_cert_file());
  set_text(L, "cert_dir", X509_get_default_cert_dir());
  return 1;
}

/* random() -> a number from 0 up to 1, from the system's entropy: no two
 * processes agree, and the program's own generator is left alone */
static int system_random(lua_State *L) {
  uint32_t bits = 0;
  if (aw_loop_entropy(&bits, sizeof bits) != AW_OK) {
    bits = (uint32_t)uv_hrtime() * 2654435761u;
  }
  lua_pushnumber(L, (lua_Number)bits / 4294967296.0);
  return 1;
}

typedef struct bit_name {
  const char *name;
  lua_Integer bit;
} bit_name;

static const bit_name conn_events[] = {{"UP", AW_CONN_UP},
                                       {"DOWN", AW_CONN_DOWN},
                                       {"NEWS", AW_CONN_NEWS},
                                       {"CLOSED", AW_CONN_CLOSED},
                                       {NULL, 0}};

static const bit_name channel_events[] = {{"READABLE", AW_CHANNEL_READABLE},
                                          {"WRITABLE", AW_CHANNEL_WRITABLE},
                                          {"ENDED", AW_CHANNEL_ENDED},
                                          {"OPENED", AW_CHANNEL_OPENED},
                                          {NULL, 0}};

static const bit_name hub_events[] = {
    {"ACCEPTED", AW_LUA_HUB_ACCEPTED}, {"REQUESTED", AW_LUA_HUB_REQUESTED},
    {"FAILED", AW_LUA_HUB_FAILED},     {"WITHDRAWN", AW_LUA_HUB_WITHDRAWN},
    {"EXCHANGE", AW_LUA_HUB_EXCHANGE}, {NULL, 0}};

static const bit_name exchange_events[] = {{"READABLE", AW_EXCHANGE_READABLE},
                                           {"WRITABLE", AW_EXCHANGE_WRITABLE},
                                           {"OVER", AW_EXCHANGE_OVER},
                                           {NULL, 0}};

static const bit_name lines_events[] = {{"READABLE", AW_LINE_READABLE},
                                        {"WRITABLE", AW_LINE_WRITABLE},
                                        {"SKIPPED", AW_LINE_SKIPPED},
                                        {"OVER", AW_LINE_OVER},
                                        {NULL, 0}};

static const bit_name fetch_events[] = {{"HEAD", AW_FETCH_HEAD},
                                        {"BODY", AW_FETCH_BODY},
                                        {"DONE", AW_FETCH_DONE},
                                        {NULL, 0}};

static const bit_name type_flags[] = {{"OPENS", AW_TYPE_OPENS},
                                      {"ENDS", AW_TYPE_ENDS},
                                      {"ZERO", AW_TYPE_ZERO},
                                      {"FLOATS", AW_TYPE_FLOATS},
                                      {"STATE", AW_TYPE_STATE},
                                      {"URGENT", AW_TYPE_URGENT},
                                      {NULL, 0}};

/* Sets a table of names in the table at the top. */
static void set_bits(lua_State *L, const char *key, const bit_name *bits) {
  lua_newtable(L);
  for (; bits->name != NULL; bits++) {
    lua_pushinteger(L, bits->bit);
    lua_setfield(L, -2, bits->name);
  }
  lua_setfield(L, -2, key);
}

/* core.events: what loop:ready() says of a connection, a hub, an exchange,
 * lines or a fetch, conn:poll() of a channel. core.types: the flags of
 * loop:define().
 */
static void set_names(lua_State *L) {
  lua_newtable(L);
  set_bits(L, "conn", conn_events);
  set_bits(L, "channel", channel_events);
  set_bits(L, "hub", hub_events);
  set_bits(L, "exchange", exchange_events);
  set_bits(L, "lines", lines_events);
  set_bits(L, "fetch", fetch_events);
  lua_setfield(L, -2, "events");
  set_bits(L, "types", type_flags);
}

/* core.errors: of each code how far it reaches, and its sentence. */
static void set_errors(lua_State *L) {
  static const int errors[] = {
#define ERROR_NUMBER(name, number, reach, code, text) number,
      AW_ERROR_LIST(ERROR_NUMBER)
#undef ERROR_NUMBER
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, aw_reach_name(aw_error_reach(errors[i])));
    lua_setfield(L, -2, "reach");
    lua_pushstring(L, aw_error_text(errors[i]));
    lua_setfield(L, -2, "text");
    lua_setfield(L, -2, aw_error_code(errors[i]));
  }
  lua_setfield(L, -2, "errors");
}

/* core.limits: of each limit of a mux its default, and the most it may be. */
static void set_limits(lua_State *L) {
  static const struct {
    const char *name;
    uint64_t otherwise, most;
  } limits[] = {
#define LIMIT_ROW(type, name, otherwise, most) {#name, otherwise, most},
      AW_MUX_LIMIT_LIST(LIMIT_ROW)
#undef LIMIT_ROW
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)limits[i].otherwise);
    lua_setfield(L, -2, "default");
    lua_pushinteger(L, (lua_Integer)limits[i].most);
    lua_setfield(L, -2, "most");
    lua_setfield(L, -2, limits[i].name);
  }
  lua_setfield(L, -2, "limits");
}

/* Slots that the deepest wait takes of a stack, several times over. */
enum { CLEARED_SLOTS = 128 };

/* clear_stack(): overwrites what earlier calls of this coroutine have left on
 * its stack above the caller. It has to be a function of C, which no trace of
 * LuaJIT leaves out. */
static int clear_stack(lua_State *L) {
  luaL_checkstack(L, CLEARED_SLOTS, "no room to clear the stack");
  lua_settop(L, CLEARED_SLOTS);
  return 0;
}

int luaopen_agentwire_core(lua_State *L) {
  lua_newtable(L);
  aw_lua_open_loop(L);
  aw_lua_open_conn(L);
  aw_lua_open_channel(L);
  aw_lua_open_hub(L);
  aw_lua_open_exchange(L);
  aw_lua_open_process(L);
  aw_lua_open_lines(L);
  aw_lua_open_bridge(L);
  aw_lua_open_fetch(L);
  aw_lua_open_http(L);
  aw_lua_json_open(L);
  lua_setfield(L, -2, "json");
  lua_pushcfunction(L, wall_ms);
  lua_setfield(L, -2, "wall_ms");
  lua_pushcfunction(L, monotonic_us);
  lua_setfield(L, -2, "monotonic_us");
  lua_pushcfunction(L, system_random);
  lua_setfield(L, -2, "random");
  lua_pushcfunction(L, is_terminal);
  lua_setfield(L, -2, "is_terminal");
  lua_pushcfunction(L, terminal_columns);
  lua_setfield(L, -2, "terminal_columns");
  lua_pushcfunction(L, libraries);
  lua_setfield(L, -2, "libraries");
  lua_pushcfunction(L, clear_stack);
  lua_setfield(L, -2, "clear_stack");
  set_names(L);
  set_errors(L);
  set_limits(L);
  return 1;
}
