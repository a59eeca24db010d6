// Gradients of two processes, which this program starts of itself, summed in the graph of the backward pass as on GPUs, over MLX's ring.
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "m2bert/train/distributed.h"
#include "m2bert/train/fixed_batches.h"
#include "tiny_model.h"

extern char** environ;

namespace m2bert::train {
namespace {

constexpr const char* kFolder = "M2BERT_TEST_FOLDER";
constexpr int kSteps = 3, kRows = 8;  // rows of a batch

struct Case {
  Weighting weighting;
  int rows_of_two, rows_of_one;  // of a microbatch: the cut counts where samples are weighed
};
constexpr Case kCases[] = {{Weighting::task, 0, 0}, {Weighting::task, 3, 0}, {Weighting::samples, 0, kRows / 2}};

int free_port() {
  const int s = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(s, reinterpret_cast<sockaddr*>(&address), size), 0);
  ::getsockname(s, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(s);
  return ntohs(address.sin_port);
}

StepOptions options_of(Weighting weighting, int rows) {
  StepOptions o;
  o.sums_in_graph = true;
  o.weighting = weighting;
  o.microbatch_rows = rows;
  o.clipping = {optim::ClipBy::norm, 0.5};
  return o;
}

// The losses, norms and counts of a few steps.
std::vector<double> train(TinyModel& made, const Processes& processes, const StepOptions& options) {
  FixedBatches source(trainlog() / "inputs.safetensors", processes.rank(), processes.size());
  std::vector<data::Batch> batches;
  for (int i = 0; i < kSteps; ++i) batches.push_back(*source.next());
  // All processes have other numbers of predicted tokens, and one of them a batch without any.
  auto& labels = batches[1].labels;
  std::fill_n(labels.begin(), processes.size() == 1 ? labels.size() / 2 : processes.rank() == 0 ? labels.size() : 0, -100);
  Step step(made.model, made.task, made.optimizer, processes, options);
  std::vector<double> found;
  for (int i = 0; i < kSteps; ++i) {
    auto gradient = *step.gradient(batches[size_t(i)], i, [&] { return i + 1 < kSteps ? &batches[size_t(i) + 1] : nullptr; });
    step.update(gradient, 1);
    found.insert(found.end(), {gradient.loss, gradient.norm, double(gradient.samples), double(gradient.tokens), double(gradient.weight)});
  }
  return found;
}

// A process of the test below.
TEST(SummedGradients, DISABLED_OneOfTwo) {
  const golden::fs::path folder = std::getenv(kFolder);
  const auto processes = join_processes(60);
  ASSERT_EQ(processes.size(), 2);
  int run = 0;
  for (const auto& c : kCases) {
    const auto options = options_of(c.weighting, c.rows_of_two);
    TinyModel made(options, 0);
    const auto found = train(made, processes, options);
    const std::vector<float> values(found.begin(), found.end());
    std::unordered_map<std::string, mx::array> all{{"found", mx::array(values.data(), {int(values.size())})}};
    for (const auto& p : nn::parameters(made.model)) all.emplace(p.name, *p.array);
    const std::string name = std::to_string(run++) + "-" + std::to_string(processes.rank()) + ".safetensors";
    mx::save_safetensors((folder / name).string(), all);
  }
}

TEST(SummedGradients, TwoEqualOne) {
  if (mx::default_device() != mx::Device(mx::Device::cpu)) GTEST_SKIP() << "the ring is for CPUs";
  const test::Scratch scratch;
  scratch.put("hosts.json", "[[\"127.0.0.1:" + std::to_string(free_port()) + "\"], [\"127.0.0.1:" + std::to_string(free_port()) + "\"]]");
  ::setenv(kFolder, (scratch / "").c_str(), 1);
  ::setenv("MLX_HOSTFILE", (scratch / "hosts.json").c_str(), 1);
  std::vector<pid_t> children;
  for (const char* rank : {"0", "1"}) {
    ::setenv("MLX_RANK", rank, 1);
    std::vector<std::string> words{"test_train", "--gtest_also_run_disabled_tests", "--gtest_filter=SummedGradients.DISABLED_OneOfTwo"};
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&children.emplace_back(), "/proc/self/exe", nullptr, nullptr, arguments.data(), environ), 0);
  }
  for (const char* name : {kFolder, "MLX_HOSTFILE", "MLX_RANK"}) ::unsetenv(name);
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(status, 0);
  }
  for (int run = 0; const auto& c : kCases) {
    const auto options = options_of(c.weighting, c.rows_of_one);
    TinyModel one(options, 0);
    const auto found = train(one, Processes(), options);
    const auto first = golden::load_tensors(scratch / (std::to_string(run) + "-0.safetensors"));
    const auto second = golden::load_tensors(scratch / (std::to_string(run++) + "-1.safetensors"));
    for (const auto& [name, values] : first) EXPECT_TRUE(mx::array_equal(values, second.at(name)).item<bool>()) << name;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(mx::take(first.at("found"), int(i)).item<float>(), found[i], 2e-5 * std::abs(found[i])) << i;
    }
    for (const auto& p : nn::parameters(one.model)) {
      EXPECT_TRUE(mx::allclose(*p.array, first.at(p.name), 1e-4, 2e-5).item<bool>()) << p.name;
    }
  }
}

}  // namespace
}  // namespace m2bert::train
