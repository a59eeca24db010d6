#include "m2bert/io/net/curl_library.h"

#include <dlfcn.h>

#include "m2bert/error.h"

namespace m2bert::io {
namespace {

void* open_library() {
  if (void* library = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL)) return library;
  if (void* library = ::dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL)) return library;
  return ::dlopen("libcurl.4.dylib", RTLD_NOW | RTLD_LOCAL);
}

template <class Function>
void bind(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  require(function != nullptr, "downloads need a newer libcurl: this one has no ", name);
}

CurlLibrary load() {
  void* library = open_library();
  require(library != nullptr, "downloads need libcurl, which is not installed: install the system's package (Debian and Ubuntu: libcurl4)");
  CurlLibrary curl;
  bind(library, "curl_global_init", curl.global_init);
  bind(library, "curl_easy_init", curl.easy_init);
  bind(library, "curl_easy_reset", curl.easy_reset);
  bind(library, "curl_easy_setopt", curl.easy_setopt);
  bind(library, "curl_easy_perform", curl.easy_perform);
  bind(library, "curl_easy_strerror", curl.easy_strerror);
  bind(library, "curl_easy_cleanup", curl.easy_cleanup);
  bind(library, "curl_slist_append", curl.slist_append);
  bind(library, "curl_slist_free_all", curl.slist_free_all);
  bind(library, "curl_url", curl.url);
  bind(library, "curl_url_get", curl.url_get);
  bind(library, "curl_url_set", curl.url_set);
  bind(library, "curl_url_cleanup", curl.url_cleanup);
  bind(library, "curl_free", curl.free);
  bind(library, "curl_getdate", curl.getdate);
  return curl;
}

}  // namespace

const CurlLibrary& curl() {
  static const CurlLibrary library = load();
  return library;
}

}  // namespace m2bert::io
