#include "m2bert/serve/page.h"

namespace m2bert::serve {

std::string_view page_html() { return "<!doctype html>"; }
std::string page_policy() { return "default-src 'none'"; }

}  // namespace m2bert::serve
