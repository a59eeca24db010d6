#include "python/bindings/model.h"

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/memory.h"
#include "m2bert/mx.h"

namespace m2bert::python {
namespace {

infer::PadMode pad_named(const std::string& name) {
  if (name == "max") return infer::PadMode::max;
  if (name == "longest") return infer::PadMode::longest;
  if (name == "bucket") return infer::PadMode::bucket;
  fail("pad '", name, "': it can be 'max', 'longest' or 'bucket'");
}

mx::Dtype dtype_named(const std::string& name) {
  for (const char* known : {"float32", "bfloat16", "float16", "int8"}) {
    if (name == known) return checkpoint::to_mlx_dtype(name, "dtype");
  }
  fail("dtype '", name, "': it can be 'float32', 'bfloat16', 'float16' or 'int8'");
}

}  // namespace

void Options::wrong_type(const char* name, nb::handle value) {
  const auto type = nb::cast<std::string>(value.type().attr("__name__"));
  throw nb::type_error((std::string(name) + " is of type " + type + ", which it cannot be").c_str());
}

models::LoadOptions load_options(const Options& options) {
  models::LoadOptions how;
  how.config = options.get<std::string>("config");
  how.tokenizer = options.get<std::string>("tokenizer");
  if (const auto dtype = options.get<std::string>("dtype")) how.dtype = dtype_named(*dtype);
  how.allow_missing = options.get("allow_missing", false);
  how.allow_unexpected = options.get("allow_unexpected", false);
  return how;
}

models::Pretrained load_model(const std::string& path, const models::LoadOptions& options) {
  if (mx::default_device() == mx::Device(mx::Device::cpu)) keep_freed_buffers();
  models::Pretrained pretrained = models::load_pretrained(path, options);
  if (pretrained.computes_in_float32) io::info("this processor computes ", checkpoint::dtype_name(pretrained.dtype), " in float32");
  const auto& report = pretrained.report;
  if (!report.missing.empty() || !report.unexpected.empty()) io::warn(path, ": not every weight matches\n", report.table());
  return pretrained;
}

infer::EmbedOptions embed_options(const Options& options) {
  infer::EmbedOptions how;
  if (const auto pad = options.get<std::string>("pad")) how.pad = pad_named(*pad);
  how.max_length = options.get<int>("max_length");
  how.batch_size = options.get("batch_size", how.batch_size);
  if (const auto side = options.get<std::string>("truncation_side")) how.truncation_side = truncation_side_named(*side);
  how.upstream_cut = options.get("reference_cut", false);
  if (const auto pooling = options.get<std::string>("pooling")) how.pooling = models::poolings_named(*pooling);
  how.normalize = options.get<bool>("normalize");
  how.dimensions = options.get<int>("dimensions");
  how.prompt = options.get<std::string>("prompt");
  return how;
}

tokenize::TruncationSide truncation_side_named(const std::string& name) {
  if (name == "right") return tokenize::TruncationSide::right;
  if (name == "left") return tokenize::TruncationSide::left;
  fail("truncation_side '", name, "': it can be 'right' or 'left'");
}

infer::Batcher batcher_with(const infer::Batcher& batcher, const std::optional<std::string>& prompt, std::optional<int> batch_size) {
  infer::BatchOptions options = batcher.options();
  if (prompt) options.prompt = *prompt;
  if (batch_size) options.batch_size = *batch_size;
  return {batcher.tokenizer(), std::move(options)};
}

}  // namespace m2bert::python
