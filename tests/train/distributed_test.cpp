#include "m2bert/train/distributed.h"

#include <cstdlib>

#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

TEST(Distributed, ChecksTheHostfile) {
  const Scratch scratch;
  auto error = [&](const char* text, int rank) {
    scratch.put("hosts.json", text);
    return error_of([&] { use_hostfile(scratch / "hosts.json", rank); });
  };
  EXPECT_PRED2(has, error("{}", 0), "wants a list");
  EXPECT_PRED2(has, error("[]", 0), "wants a list");
  EXPECT_PRED2(has, error("[\"10.0.0.1:5000\"]", 0), "wants a list of addresses");
  EXPECT_PRED2(has, error("[[\"10.0.0.1\"]]", 0), "wants an address and port");
  EXPECT_PRED2(has, error("[[\"10.0.0.1:99999\"]]", 0), "wants an address and port");
  EXPECT_PRED2(has, error("[[\"10.0.0.1:5000\"]]", 1), "has 1 processes, so ranks from 0 to 0; this one is to be 1");
  EXPECT_PRED2(has, error("[[", 0), "hosts.json:1");
  EXPECT_EQ(std::getenv("MLX_HOSTFILE"), nullptr);
}

TEST(Distributed, WithoutAnEnvironmentAProcessIsByItself) {
  EXPECT_EQ(backend_of_environment(), "");
  EXPECT_EQ(join_processes().size(), 1);
}

}  // namespace
}  // namespace m2bert::train
