#pragma once
// Several processes of this program on one machine, as one run.
#include <string>
#include <vector>

#include "cli/command.h"

namespace m2bert::cli {

// The exit code of a process that stopped because another one is gone.
constexpr int kProcessLost = 75;

// Starts `count` copies of this program with these arguments and global options, their ranks and the addresses of the others, and waits.
// Forwards signals. When one dies, the others are stopped, and one message names it and ends in `advice`. Returns the exit code of the run.
int launch(int count, const std::vector<std::string>& arguments, const Globals& globals, const std::string& advice);

// The words of a command line that give this command's options and arguments, for launch(): without those that start the processes, and
// without the recipe values of add_training_options.
std::vector<std::string> words_of(const CLI::App& app);

// Whether this process was started by launch().
bool is_launched();

// Hides the lines that MLX's ring prints to stderr for each attempt on a lost connection, while it exists.
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
