#pragma once
// TensorBoard event files: https://github.com/tensorflow/tensorboard reads them from the folder.
#include <filesystem>
#include <memory>

#include "m2bert/io/file.h"
#include "m2bert/train/record.h"

namespace m2bert::train {

class TensorBoard : public Logger {
 public:
  // Creates a new event file in the folder. first: the first batch that will be written; TensorBoard then drops what an earlier, killed
  // session wrote for this batch and later ones.
  TensorBoard(const std::filesystem::path& folder, int64_t first);
  void write(const Record& record) override;
  void sync() override { file_->sync(); }

 private:
  void append(const std::string& event);
  std::unique_ptr<io::GrowingFile> file_;
};

// The masked CRC-32C of event files.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace m2bert::train
