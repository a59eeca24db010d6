#pragma once
// A file that a long run appends to as OUT.part, beside OUT.part.state, and renames to OUT when it is complete. If OUT is a symbolic link,
// all of them are where it points.
//
// What belongs behind the last row waits in OUT.part.index.
//
// The rows are on disk before the state that counts them, and the state is replaced atomically. So a run that is killed at any moment can
// be resumed: the next one truncates OUT.part to the size in the state.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "m2bert/io/file.h"
#include "m2bert/io/tree.h"

namespace m2bert::cli {

// The progress of a run.
struct Done {
  uint64_t texts = 0, tokens = 0, truncated = 0, without_result = 0, rows = 0;
  std::string input_hash;  // of the texts so far
  // What --skip-bad passed over. Not part of the state: a resumed run reads the input again.
  uint64_t skipped = 0;
  std::string first_skipped;
};

struct ResumableOptions {
  bool resume = false;      // resume an unfinished run; start from the beginning if there is none
  bool overwrite = false;   // replace an existing OUT or unfinished run
  double save_seconds = 1;  // between two saves of the state
  size_t header_size = 0;   // bytes reserved at the start for finish()
  bool has_index = false;   // an index follows the rows
  bool keep_state = false;  // the state stays beside the finished OUT and says how it was made
};

// "batch_size was 32, is 16" for every setting that differs.
std::string differences(const io::Tree& before, const io::Tree& after);

// The progress in a state file.
Done done_of(const io::Tree& state);

// OUT.part.state.
std::filesystem::path state_file(const std::filesystem::path& out);

class ResumableFile {
 public:
  // settings: everything that the content depends on. With both options, a run with the same settings is resumed and another one replaced.
  // Error: OUT or an unfinished run exists and neither option is set; OUT or the unfinished run had other settings (names them); another
  // process writes it; the folder is not writable.
  ResumableFile(const std::filesystem::path& out, io::Tree settings, const ResumableOptions& options);
  // Removes OUT.part and the state if no text was done.
  ~ResumableFile();
  ResumableFile(const ResumableFile&) = delete;
  ResumableFile& operator=(const ResumableFile&) = delete;

  // Whether an earlier run with these settings has finished OUT.
  bool complete() const { return complete_; }
  // The progress of an earlier run.
  const Done& before() const { return saved_; }

  // Appends rows, and to the index, which is empty without has_index; saves the state when save_seconds have passed.
  void append(std::string_view rows, std::string_view index, const Done& done);
  // Saves the state.
  void save(const Done& done);
  // Writes index and header, and renames to OUT.
  void finish(std::string_view header, const Done& done);

  uint64_t texts_saved() const { return saved_.texts; }
  const std::filesystem::path& part() const { return part_; }

 private:
  void start();
  void open_parts(uint64_t bytes, uint64_t index_bytes);
  void remove_parts() const;
  void append_index();
  bool continue_from(const io::Tree& state);
  void require_free() const;
  void lock();
  void write_state(const Done& done, bool finished);
  bool is_finished() const;

  std::string name_;  // as it was given
  std::filesystem::path out_, part_, index_part_, state_;
  io::Tree settings_;
  ResumableOptions options_;
  std::optional<io::GrowingFile> file_, index_;
  Done saved_;
  double saved_at_ = 0;
  int lock_ = -1;
  bool complete_ = false;
};

}  // namespace m2bert::cli
