// For tests/parity/test_checkpoint.py.
//   dump IN OUT      every tensor that MLX can hold, under its name in the file, as safetensors; names of the others on stdout
//   weights IN OUT   the model weights as safetensors
//   convert IN OUT   to the format that OUT's name implies
#include <iostream>
#include <string>

#include "m2bert/checkpoint/convert.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"

namespace {

using namespace m2bert;
using namespace m2bert::checkpoint;

void dump(const std::string& in, const std::string& out) {
  auto file = TensorFile::open(in);
  TensorMap tensors;
  for (const auto& t : file->tensors()) {
    try {
      mx::array a = file->read(t);
      tensors.emplace_back(t.name, mx::array(a));
    } catch (const Error& e) {
      std::cout << "refused " << t.name << " " << t.dtype << "\n";
    }
  }
  for (const auto& s : file->skipped()) std::cout << "skipped " << s.path << " " << s.what << "\n";
  save_safetensors(out, tensors);
}

int run(const std::string& what, const std::string& in, const std::string& out) {
  if (what == "dump") dump(in, out);
  else if (what == "weights") save_safetensors(out, load_weights(in));
  else if (what == "convert") convert(in, out);
  else return 2;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return argc == 4 ? run(argv[1], argv[2], argv[3]) : 2;
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
