#pragma once
#include "m2bert/error.h"

namespace m2bert::data {

// A record of an input that cannot be used, although reading can go on behind it. Readers with skip_bad pass over such records.
class BadRecord : public Error {
 public:
  using Error::Error;
};

// Throws BadRecord with the concatenated parts as its message, as fail() does.
template <class... Parts>
[[noreturn]] void bad_record(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw BadRecord(message.str());
}

}  // namespace m2bert::data
