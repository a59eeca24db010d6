#pragma once
// Errors: a library throws m2bert::Error and never exits. The message names the file, field or op, the values, and what to do.
#include <sstream>
#include <stdexcept>
#include <string>

namespace m2bert {

// A problem the user can act on: bad input, bad option, missing file. what() is complete and printed as it is.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Error with the parts streamed one after another: fail("[long_conv] u has ", n, " dimensions, wants 3").
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
