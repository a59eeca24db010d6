#include "m2bert/checkpoint/torch_file.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

mx::array counted(mx::Shape shape, int start = 0) {
  int n = 1;
  for (int d : shape) n *= d;
  return mx::reshape(mx::arange(start, start + n, mx::float32), shape);
}
bool same(const mx::array& a, const mx::array& b) { return a.shape() == b.shape() && mx::array_equal(a, b).item<bool>(); }

// Files written by PyTorch (tests/golden/checkpoint/generate.py), in both formats.
class Golden : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(TorchFile, Golden, testing::Values("", "_legacy"),
                         [](const auto& info) { return info.param.empty() ? "zip" : "legacy"; });

TEST_P(Golden, ComposerFileGivesItsTensors) {
  auto file = TensorFile::open(golden("composer" + GetParam() + ".pt"));
  EXPECT_EQ(file->format(), GetParam().empty() ? "PyTorch zip" : "PyTorch legacy");
  auto read = [&](const std::string& name) {
    const TensorInfo* t = file->find(name);
    EXPECT_NE(t, nullptr) << name;
    return file->read(*t);
  };
  std::string model = "state.model.model.";
  auto embedding = read(model + "bert.embeddings.word_embeddings.weight");
  EXPECT_TRUE(same(embedding, counted({16, 4})));
  EXPECT_EQ(embedding.id(), read(model + "cls.predictions.decoder.weight").id());
  EXPECT_TRUE(same(read(model + "bert.encoder.layer.1.attention.in_linear.weight"), mx::transpose(counted({4, 6}, 200))));
  EXPECT_TRUE(same(read(model + "bert.encoder.layer.0.attention.out_linear.weight"), mx::slice(counted({4, 6}, 200), {1, 2}, {3, 5})));
  EXPECT_TRUE(same(read(model + "bert.embeddings.position_ids"), mx::reshape(mx::arange(8), {1, 8})));
  EXPECT_EQ(read(model + "bert.embeddings.position_ids").dtype(), mx::int64);
  EXPECT_EQ(read(model + "scale").item<float>(), 7.5f);
  EXPECT_EQ(read(model + "empty").shape(), (mx::Shape{0, 3}));
  EXPECT_TRUE(same(read("state.optimizers.DecoupledAdamW.state.1.exp_avg"), counted({16, 4}, 1)));
}

TEST_P(Golden, SharedStoragesAreNamed) {
  auto file = TensorFile::open(golden("composer" + GetParam() + ".pt"));
  auto storage = [&](const std::string& name) { return file->find("state.model.model." + name)->storage; };
  EXPECT_EQ(storage("bert.embeddings.word_embeddings.weight"), storage("cls.predictions.decoder.weight"));
  EXPECT_EQ(storage("bert.encoder.layer.0.attention.in_linear.weight"), storage("bert.encoder.layer.1.attention.out_linear.weight"));
  EXPECT_NE(storage("bert.encoder.layer.0.attention.filter_fn.pos_emb.z"), storage("bert.encoder.layer.1.attention.filter_fn.pos_emb.z"));
}

TEST_P(Golden, OtherObjectsAreListedNotRun) {
  auto file = TensorFile::open(golden("composer" + GetParam() + ".pt"));
  std::string all;
  for (const auto& s : file->skipped()) all += s.path + "=" + s.what + "\n";
  EXPECT_NE(all.find("state.timestamp.Timestamp.total_wct=datetime.timedelta"), std::string::npos) << all;
  EXPECT_NE(all.find("rng.0.numpy.1=a NumPy array"), std::string::npos) << all;
  EXPECT_NE(all.find("param_groups.0.initial_lr=numpy"), std::string::npos) << all;
}

TEST_P(Golden, EveryDtypeOfMlxIsReadAndTheOthersAreRefusedByName) {
  auto file = TensorFile::open(golden("dtypes" + GetParam() + ".pt"));
  int read = 0, refused = 0;
  for (const auto& t : file->tensors()) {
    if (t.name == "complex128" || t.name == "float8_e4m3fn" || t.name == "quint8") {
      EXPECT_NE(error_of([&] { file->read(t); }).find(t.name), std::string::npos);
      ++refused;
      continue;
    }
    mx::array a = file->read(t);
    EXPECT_EQ(dtype_name(a.dtype()), t.name);
    auto wanted = mx::astype(counted({2, 3}), t.name == "bool" ? mx::bool_ : mx::float32);
    EXPECT_TRUE(
        same(mx::astype(mx::astype(a, t.name == "bool" ? mx::bool_ : mx::float32, mx::Device(mx::Device::cpu)), wanted.dtype()), wanted))
        << t.name;
    ++read;
  }
  EXPECT_EQ(read, 14);
  EXPECT_EQ(refused, 3);
  ASSERT_EQ(file->skipped().size(), 1u);
  EXPECT_EQ(file->skipped()[0].what, "a sparse tensor");
  EXPECT_TRUE(file->skipped()[0].tensor);
}

// A tensor with PyTorch's lazy bits, of six floats or three complex numbers.
std::string lazy(const std::string& cls, const std::vector<int64_t>& shape, const std::string& metadata) {
  const int64_t count = cls == "ComplexFloatStorage" ? 3 : 6;
  return call("torch._utils", "_rebuild_tensor_v2",
              storage({.storage_class = cls, .count = count}) + integer(0) + integers(shape) + integers({1}) + "\x89" +
                  call("collections", "OrderedDict", "") + metadata);
}

TEST(TorchFile, LazyConjugatesAndNegativesAreApplied) {
  const Folder folder;
  const std::string conj = dict(text("conj") + "\x88"), neg = dict(text("neg") + "\x88"),
                    both = dict(text("conj") + "\x88" + text("neg") + "\x88"), none = dict(text("conj") + "\x89");
  const auto read = [&](const std::string& cls, int64_t size, const std::string& metadata) {
    const std::string pickle = proto() + dict(text("w") + lazy(cls, {size}, metadata) + text("plain") + lazy(cls, {size}, "N")) + ".";
    auto file = TensorFile::open(folder.write("l.pt", torch_zip(pickle)));
    EXPECT_EQ(file->read(file->tensors()[0]).id() == file->read(file->tensors()[1]).id(), metadata == none);  // tied only if equal
    return file->read(file->tensors()[0]);
  };
  using C = mx::complex64_t;
  EXPECT_TRUE(same(read("FloatStorage", 6, neg), mx::array({-0.f, -1.f, -2.f, -3.f, -4.f, -5.f})));
  EXPECT_TRUE(same(read("ComplexFloatStorage", 3, conj), mx::array({C{0, -1}, C{2, -3}, C{4, -5}})));
  EXPECT_TRUE(same(read("ComplexFloatStorage", 3, neg), mx::array({C{-0.f, -1}, C{-2, -3}, C{-4, -5}})));
  EXPECT_TRUE(same(read("ComplexFloatStorage", 3, both), mx::array({C{-0.f, 1}, C{-2, 3}, C{-4, 5}})));
  EXPECT_TRUE(same(read("ComplexFloatStorage", 3, none), mx::array({C{0, 1}, C{2, 3}, C{4, 5}})));
}

TEST(TorchFile, WholeModulesKeepTheirStateDictNames) {
  auto weights = load_weights(golden("module_legacy.pt"));
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[0].first, "0.weight");
  EXPECT_EQ(weights[1].second.shape(), mx::Shape{3});
}

TEST(TorchFile, LegacyViewsBeginInsideTheirRoot) {
  TensorSpec t{.count = 6, .shape = {2}, .strides = {1}};
  t.tail = tuple(text("view") + integer(3) + integer(2));
  Folder folder;
  auto file = TensorFile::open(folder.write("v.pt", legacy_file(proto() + dict(text("w") + tensor(t)) + ".")));
  EXPECT_TRUE(same(file->read(file->tensors()[0]), counted({2}, 3)));
}

TEST(TorchFile, StridesMayRepeatValues) {
  Folder folder;
  auto file = TensorFile::open(folder.write("s.pt", torch_zip(tensor_dict({.shape = {4, 2}, .strides = {0, 3}}))));
  EXPECT_TRUE(same(file->read(file->tensors()[0]), mx::array({0.f, 3.f, 0.f, 3.f, 0.f, 3.f, 0.f, 3.f}, {4, 2})));
}

TEST(TorchFile, DamagedBytesOutsideAViewAreDetected) {
  Folder folder;
  std::string content = torch_zip(tensor_dict({.shape = {2}, .strides = {1}}));
  content[content.find("a/data/0") + 8 + 20] ^= 1;
  auto file = TensorFile::open(folder.write("d.pt", content));
  EXPECT_NE(error_of([&] { file->read(file->tensors()[0]); }).find("checksum"), std::string::npos);
}

TEST(TorchFile, AFileTruncatedWhileOpenIsAnError) {
  Folder folder;
  auto path = folder.write("c.pt", torch_zip(tensor_dict()));
  auto file = TensorFile::open(path);
  std::filesystem::resize_file(path, 64);
  EXPECT_NE(error_of([&] { file->read(file->tensors()[0]); }).find("c.pt"), std::string::npos);
}

TEST(SaveComposerPt, RoundTripKeepsValuesDtypesAndTies) {
  Folder folder;
  auto tied = counted({5, 3});
  TensorMap in = {
      {"a", tied}, {"b", mx::transpose(counted({4, 7}))}, {"tied", tied}, {"scalar", mx::array(2.0f)}, {"empty", mx::zeros({0, 4})}};
  for (auto dtype : {mx::float16, mx::bfloat16, mx::int64, mx::uint16, mx::uint64, mx::uint8, mx::bool_, mx::complex64})
    in.emplace_back("d." + dtype_name(dtype), mx::astype(counted({3, 2}), dtype));
  save_composer_pt(folder / "out.pt", in);
  auto out = load_weights(folder / "out.pt");
  ASSERT_EQ(out.size(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(out[i].first, in[i].first);
    EXPECT_EQ(out[i].second.dtype(), in[i].second.dtype()) << in[i].first;
    EXPECT_TRUE(same(out[i].second, in[i].second)) << in[i].first;
  }
  EXPECT_EQ(out[0].second.id(), out[2].second.id());
  auto file = TensorFile::open(folder / "out.pt");
  EXPECT_EQ(file->tensors()[0].name, "state.model.model.a");
}

TEST(SaveComposerPt, RefusesNamesThatRepeat) {
  Folder folder;
  EXPECT_NE(error_of([&] { save_composer_pt(folder / "out.pt", {{"a", mx::array(1)}, {"a", mx::array(2)}}); }).find("two tensors"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "out.pt"));
}

TEST(SaveComposerPt, AFailedWriteLeavesTheOldFile) {
  Folder folder;
  auto path = folder.write("out.pt", "old");
  EXPECT_ANY_THROW(save_composer_pt(folder / "no/such/folder/out.pt", {{"a", mx::array(1)}}));
  EXPECT_ANY_THROW(save_composer_pt(path, {{"", mx::array(1)}}));
  EXPECT_EQ(io::read_file(path), "old");
}

}  // namespace
}  // namespace m2bert::checkpoint::test
