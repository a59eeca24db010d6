#pragma once
// Several processes of this program on one machine, as one run.
#include <string>
#include <vector>

#include "cli/command.h"

namespace m2bert::cli {

// The exit code of a process that stopped because another one is gone.
constexpr int kProcessLost = 75;

// Starts `count` copies of this program with the arguments, each told its rank and how to find the others, and waits for them. Signals are
// passed on. When one dies, the others are stopped, and one message says which. Returns the exit code of the run.
int launch(int count, const std::vector<std::string>& arguments, const Globals& globals);

// Whether this process was started by launch().
bool is_launched();

// MLX's ring reports lost connections on the error output, a line for each try: nothing of that is shown while this exists.
class WithoutRingMessages {
 public:
  WithoutRingMessages();
  ~WithoutRingMessages();
  WithoutRingMessages(const WithoutRingMessages&) = delete;
  WithoutRingMessages& operator=(const WithoutRingMessages&) = delete;

 private:
  class Filter;
  Filter* filter_;
};

}  // namespace m2bert::cli
