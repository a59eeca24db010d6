#pragma once
#include <mlx/backend/cpu/encoder.h>

#include <vector>

#include "m2bert/allocate.h"
#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// The start of every eval_cpu: allocates the output, and registers inputs and output with the stream's encoder.
inline mx::cpu::CommandEncoder& encode(mx::Stream s, const std::vector<mx::array>& in, mx::array& out) {
  out.set_data(allocate(out.nbytes()));
  auto& encoder = mx::cpu::get_command_encoder(s);
  for (const auto& a : in) encoder.set_input_array(a);
  encoder.set_output_array(out);
  return encoder;
}

// The same for an output that reuses the first input's memory.
inline mx::cpu::CommandEncoder& encode_in_place(mx::Stream s, const std::vector<mx::array>& in, mx::array& out) {
  out.copy_shared_buffer(in[0]);
  auto& encoder = mx::cpu::get_command_encoder(s);
  for (const auto& a : in) encoder.set_input_array(a);
  encoder.set_output_array(out);
  return encoder;
}

// The same for several outputs.
inline mx::cpu::CommandEncoder& encode(mx::Stream s, const std::vector<mx::array>& in, std::vector<mx::array>& out) {
  auto& encoder = mx::cpu::get_command_encoder(s);
  for (const auto& a : in) encoder.set_input_array(a);
  for (auto& a : out) {
    a.set_data(allocate(a.nbytes()));
    encoder.set_output_array(a);
  }
  return encoder;
}

}  // namespace m2bert::ops::cpu
