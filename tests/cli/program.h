#pragma once
// Runs the real m2bert program and captures its output.
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::test {

struct Outcome {
  int code = 0;  // exit status; 128 + signal if one ended it
  std::string out, err;
  long peak_kb = 0;         // largest resident size
  size_t peak_threads = 0;  // most threads at once, if count_threads is set
};

// The program while it runs.
struct Running {
  int pid = 0;
  std::string out_file, err_file;
  bool has_ended() const;
};

struct HowToRun {
  std::string program = M2BERT_PROGRAM;
  std::string input;                   // on stdin
  std::string input_file;              // the same from a file or FIFO
  std::optional<double> signal_after;  // seconds until `signal` is sent
  std::function<bool()> signal_when;   // the same as soon as this is true; asked until the program ends
  int signal = 9;
  std::function<void(const Running&)> meanwhile;                 // called while the program runs; run() waits for the end behind it
  std::optional<int> ignored;                                    // a signal that the program is started with ignored, as by nohup(1)
  std::string output_file;                                       // stdout goes there instead of into Outcome::out
  bool closed_streams = false;                                   // stdin, stdout and stderr are closed
  bool closed_pipe = false;                                      // stdout and stderr are pipes that nobody reads
  std::vector<std::string> without;                              // variables to take out of the environment
  std::vector<std::pair<std::string, std::string>> environment;  // additional variables
  bool count_threads = false;
  std::optional<uint64_t> largest_file;  // bytes; writing more fails
  std::optional<unsigned> user;          // user id to run as
  std::optional<uint64_t> most_memory;   // bytes of address space; allocating more fails
};

Outcome run(const std::vector<std::string>& arguments, const HowToRun& how = {});

// Each line of a program's output as JSON; a failure if one is not.
std::vector<io::Tree> json_lines(const std::string& out);

std::string content(const std::string& file);

}  // namespace m2bert::test
