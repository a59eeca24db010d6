#pragma once
#include <string>
#include <string_view>

namespace m2bert::serve {

// The page at /: one HTML document (page.html) that loads nothing and talks to this server only.
std::string_view page_html();
// Its Content-Security-Policy: only its own script and style run, which the policy names by their hashes.
const std::string& page_policy();

}  // namespace m2bert::serve
