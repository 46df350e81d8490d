/* What Lua asks of HTTP: the headers that a client adds to its request, and
 * which hosts are this machine. */
#include "aw_address.h"
#include "aw_error.h"
#include "aw_http.h"
#include "aw_lua.h"
#include <lauxlib.h>
#include <string.h>

#define SHOWN_MAX 48 /* of a header's name in a message */
#define SHOWN_URL_MAX 160

/* The headers under way; their lines so far are the string at `lines`. */
typedef struct header_list {
  int lines;
  unsigned count;
  bool authorized;
} header_list;

/* Names the header, never its value, which may be a secret. */
static bool refuse(lua_State *L, aw_http_span name, const char *why) {
  char shown[SHOWN_MAX + 1];
  size_t len = name.len < SHOWN_MAX ? name.len : SHOWN_MAX;
  for (size_t i = 0; i < len; i++) {
    bool visible = name.bytes[i] > ' ' && name.bytes[i] < 0x7F;
    shown[i] = visible ? name.bytes[i] : '?';
  }
  shown[len] = '\0';
  lua_pushfstring(L, "header %s: %s", shown, why);
  return false;
}

static bool is_authorization(aw_http_span name) {
  static const char known[] = "authorization";
  if (name.len != sizeof known - 1) {
    return false;
  }
  for (size_t i = 0; i < name.len; i++) {
    if ((name.bytes[i] | 0x20) != known[i]) {
      return false;
    }
  }
  return true;
}

/* False with a sentence on top. */
static bool add(lua_State *L, header_list *list, aw_http_span name,
                aw_http_span value) {
  const char *why = aw_http_check_header(name, value);
  if (why != NULL) {
    return refuse(L, name, why);
  }
  if (is_authorization(name)) {
    if (list->authorized) {
      return refuse(L, name, "given twice; the option token is one, too");
    }
    list->authorized = true;
  }
  if (++list->count > AW_HTTP_EXTRA_MAX) {
    return refuse(L, name, "too many; at most 56 headers can be added");
  }
  lua_pushvalue(L, list->lines);
  lua_pushlstring(L, name.bytes, name.len);
  lua_pushliteral(L, ": ");
  lua_pushlstring(L, value.bytes, value.len);
  lua_pushliteral(L, "\r\n");
  lua_concat(L, 5);
  lua_replace(L, list->lines);
  return true;
}

/* The string at `index`, which stays where it is; a number is none. */
static bool span_at(lua_State *L, int index, aw_http_span *out) {
  if (lua_type(L, index) != LUA_TSTRING) {
    return false;
  }
  out->bytes = lua_tolstring(L, index, &out->len);
  return true;
}

/* One member of the table: `name = value`, or `{ name, value }` in a list. */
static bool add_member(lua_State *L, header_list *list) {
  aw_http_span name, value;
  int key = lua_gettop(L) - 1;
  if (lua_type(L, key) == LUA_TNUMBER && lua_istable(L, key + 1)) {
    lua_rawgeti(L, key + 1, 1);
    lua_rawgeti(L, key + 1, 2);
    key += 2;
  }
  if (!span_at(L, key, &name) || !span_at(L, key + 1, &value)) {
    lua_pushliteral(L, "option headers: expected names and values that are "
                       "strings, or a list of { name, value }");
    return false;
  }
  return add(L, list, name, value);
}

static bool add_table(lua_State *L, header_list *list, int table) {
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    int key = lua_gettop(L) - 1;
    if (!add_member(L, list)) {
      return false;
    }
    lua_settop(L, key);
  }
  return true;
}

static bool add_token(lua_State *L, header_list *list, int arg) {
  static const aw_http_span name = {"Authorization", 13};
  aw_http_span token, value;
  lua_getfield(L, arg, "token");
  if (lua_isnil(L, -1)) {
    return true;
  }
  if (!span_at(L, -1, &token) || token.len == 0) {
    lua_pushliteral(L, "option token: expected a string that is not empty");
    return false;
  }
  lua_pushliteral(L, "Bearer ");
  lua_insert(L, -2);
  lua_concat(L, 2);
  (void)span_at(L, -1, &value);
  if (aw_http_check_header(name, value) != NULL) {
    lua_pushliteral(L, "option token: it holds a control character");
    return false;
  }
  return add(L, list, name, value);
}

/* What takes the place of the URL's host is checked as the Host of a request
 * is by whoever gets it. */
static bool check_host(lua_State *L, int arg) {
  aw_http_span host;
  lua_getfield(L, arg, "host");
  bool fine =
      lua_isnil(L, -1) || (span_at(L, -1, &host) && aw_http_is_authority(host));
  lua_pop(L, 1);
  if (!fine) {
    lua_pushliteral(L, "option host: expected a host, with or without a port");
  }
  return fine;
}

/* NULL, or what is wrong with the option; no part of it is repeated. */
static const char *check_proxy(lua_State *L, int arg) {
  const char *why = NULL;
  aw_http_span proxy;
  aw_http_url url;
  lua_getfield(L, arg, "proxy");
  if (!lua_isnil(L, -1)) {
    if (!span_at(L, -1, &proxy)) {
      why = "proxy is not a string";
    } else if (memchr(proxy.bytes, '\0', proxy.len) != NULL) {
      why = "proxy contains a zero byte";
    } else if (proxy.len > 0) {
      (void)aw_http_parse_proxy(&url, proxy.bytes, proxy.len, &why);
    }
  }
  lua_pop(L, 1);
  return why;
}

const char *aw_lua_header_lines(lua_State *L, int arg) {
  header_list list = {0};
  luaL_checkstack(L, 16, "headers");
  lua_pushliteral(L, "");
  list.lines = lua_gettop(L);
  if (!add_table(L, &list, arg)) {
    return NULL;
  }
  lua_settop(L, list.lines);
  return lua_tostring(L, list.lines);
}

const char *aw_lua_headers(lua_State *L, int arg) {
  header_list list = {0};
  luaL_checkstack(L, 16, "headers");
  if (!check_host(L, arg)) {
    return NULL;
  }
  const char *why = check_proxy(L, arg);
  if (why != NULL) {
    lua_pushfstring(L, "option %s", why);
    return NULL;
  }
  lua_pushliteral(L, "");
  list.lines = lua_gettop(L);
  if (!add_token(L, &list, arg)) {
    return NULL;
  }
  lua_getfield(L, arg, "headers");
  if (lua_istable(L, -1)) {
    if (!add_table(L, &list, lua_gettop(L))) {
      return NULL;
    }
  } else if (!lua_isnil(L, -1)) {
    lua_pushliteral(L, "option headers: expected a table of names and values");
    return NULL;
  }
  lua_settop(L, list.lines);
  return lua_tostring(L, list.lines);
}

/* The file of the option that a sentence begins with. */
static const char *find_file(const aw_tls_options *tls, const char *why) {
  const char *key = tls->key_file != NULL ? tls->key_file : tls->cert_file;
  return strncmp(why, "cert_file ", 10) == 0 ? tls->cert_file
         : strncmp(why, "key_file ", 9) == 0 ? key
         : strncmp(why, "ca_file ", 8) == 0  ? tls->ca_file
                                             : NULL;
}

int aw_lua_fail_at(lua_State *L, int error, const char *doing, const char *url,
                   const aw_tls_options *tls, const char *why) {
  char shown[SHOWN_URL_MAX + 1];
  aw_http_span span = {url, strlen(url)};
  const char *file = NULL;
  if (why == NULL) {
    why = aw_error_text(error);
  } else if (tls != NULL) {
    file = find_file(tls, why);
  }
  shown[aw_http_public_url(span, shown, SHOWN_URL_MAX)] = '\0';
  lua_pushfstring(L, "cannot %s %s: %s%s%s", doing, shown, why,
                  file != NULL ? ": " : "", file != NULL ? file : "");
  return aw_lua_fail(L, error, lua_tostring(L, -1));
}

/* header_problem{host=, token=, headers=} -> sentence | nil */
static int header_problem(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (aw_lua_headers(L, 1) != NULL) {
    lua_pushnil(L);
  }
  return 1;
}

/* is_loopback(host) -> boolean: a name or an address, without brackets */
static int is_loopback(lua_State *L) {
  size_t len = 0;
  const char *host = luaL_checklstring(L, 1, &len);
  lua_pushboolean(L, aw_address_host_is_loopback(host, len));
  return 1;
}

/* is_network(text) -> boolean: an address, or a prefix such as 10.0.0.0/8 */
static int is_network(lua_State *L) {
  size_t len = 0;
  const char *text = luaL_checklstring(L, 1, &len);
  aw_network network;
  lua_pushboolean(L, aw_network_parse(&network, text, len) == 0);
  return 1;
}

void aw_lua_open_http(lua_State *L) {
  lua_pushcfunction(L, is_network);
  lua_setfield(L, -2, "is_network");
  lua_pushcfunction(L, header_problem);
  lua_setfield(L, -2, "header_problem");
  lua_pushcfunction(L, is_loopback);
  lua_setfield(L, -2, "is_loopback");
}
