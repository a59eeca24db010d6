#pragma once
#include <string>
#include <string_view>

namespace m2bert::serve {

// The page at /: one HTML document that loads nothing.
std::string_view page_html();
// Its Content-Security-Policy.
std::string page_policy();

}  // namespace m2bert::serve
