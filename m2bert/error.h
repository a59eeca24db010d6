#pragma once
// Errors: the library throws m2bert::Error and never exits. Messages name the file, field or operation, the values, and what to do.
#include <sstream>
#include <stdexcept>
#include <string>

namespace m2bert {

// A problem that the user can fix: bad input, bad option, missing file. what() is complete and is printed unchanged.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Error with the concatenated parts as its message: fail("[long_conv] u has ", n, " dimensions, wants 3").
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

// fail(parts...) unless ok.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) fail(parts...);
}

}  // namespace m2bert
