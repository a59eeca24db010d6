#include "m2bert/serve/engine.h"

#include "m2bert/serve/api_error.h"
#include "tests/serve/a_service.h"

namespace m2bert::serve {
namespace {

using Done = std::promise<std::exception_ptr>;

// A piece of work that runs `function` on the engine's thread.
std::shared_ptr<Work> task(const ServedModel& model, std::function<void()> function, Done& done) {
  auto work = std::make_shared<Work>();
  work->task = Task{std::move(function), &model, 0, 0, 100};
  work->done = [&done](std::exception_ptr error) { done.set_value(error); };
  return work;
}

std::shared_ptr<Work> rows(const ServedModel& model, const std::vector<int>& lengths, Done& done) {
  auto work = std::make_shared<Work>();
  for (const int length : lengths) {
    Row row{{&model, length, 0, model.embedder().form()}, {5, 6, 7, 8, 9}, {0, 0, 0, 0, 0}, {}, {}};
    work->rows.push_back(row);
  }
  work->done = [&done](std::exception_ptr error) { done.set_value(error); };
  return work;
}

// Blocks the engine until it is released.
class Block {
 public:
  Block(AService& a, const ServedModel& model) {
    const auto wait = [this] {
      begun_.set_value();
      go_.get_future().wait();
    };
    a.engine.submit(task(model, wait, done_));
    begun_.get_future().wait();
  }
  ~Block() { release(); }
  void release() {
    if (released_) return;
    released_ = true;
    go_.set_value();
    done_.get_future().wait();
  }

 private:
  std::promise<void> begun_, go_;
  Done done_;
  bool released_ = false;
};

TEST(Engine, RunRethrows) {
  Engine engine({});
  int ran = 0;
  engine.run([&] { ++ran; });
  EXPECT_EQ(ran, 1);
  EXPECT_THROW(engine.run([] { throw std::runtime_error("no"); }), std::runtime_error);
}

TEST(Engine, WaitingTextsOfManyRequestsShareABatch) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  std::vector<Done> done(5);
  std::vector<std::shared_ptr<Work>> works;
  {
    const Block block(a, model);
    for (Done& each : done) {
      works.push_back(rows(model, {32}, each));
      a.engine.submit(works.back());
    }
    EXPECT_EQ(a.engine.stats().waiting_rows, 5);
    EXPECT_EQ(a.engine.stats().waiting_tokens, 5 * 32);
  }
  for (Done& each : done) EXPECT_EQ(each.get_future().get(), nullptr);
  const EngineStats stats = a.engine.stats();
  EXPECT_EQ(stats.batches, 1u);
  EXPECT_EQ(stats.rows, 5u);
  EXPECT_EQ(stats.last_batch_rows, 5);
  EXPECT_EQ(stats.waiting_rows, 0);
  EXPECT_EQ(stats.waiting_tokens, 0);
  for (const auto& work : works) EXPECT_EQ(work->rows.front().values.size(), 16u);
}

TEST(Engine, ABatchKeepsTheTokenBudgetAndTheLengthsApart) {
  EngineOptions options;
  options.max_batch_tokens = 50;
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  Done done;
  {
    const Block block(a, model);
    a.engine.submit(rows(model, {16, 16, 16, 16, 32, 32}, done));
  }
  EXPECT_EQ(done.get_future().get(), nullptr);
  EXPECT_EQ(a.engine.stats().batches, 4u);  // 3 x 16, 16, 32, 32
}

TEST(Engine, ALateRequestEndsWhileTheEngineIsBusy) {
  EngineOptions options;
  options.queue_timeout = std::chrono::milliseconds(50);
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  {
    const Block block(a, model);
    EXPECT_EQ(kind_of([&] { a.embed(model, {"a"}); }), ErrorKind::deadline);
    EXPECT_EQ(a.engine.stats().expired, 1u);
  }
  EXPECT_EQ(a.embed(model, {"a"}).values.size(), 16u);
  EXPECT_EQ(a.engine.stats().waiting_rows, 0);
}

TEST(Engine, KeepsNothingOfARequestThatHasEnded) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  std::weak_ptr<Work> ended;
  {
    Done done;
    const auto work = rows(model, {32}, done);
    ended = work;
    a.engine.submit(work);
    EXPECT_EQ(done.get_future().get(), nullptr);
    EXPECT_EQ(a.engine.stats().watched, 0u);
  }
}

TEST(Engine, AStoppedEngineRefuses) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  a.engine.stop();
  EXPECT_EQ(kind_of([&] { a.embed(model, {"a"}); }), ErrorKind::unavailable);
}

TEST(Engine, AFullQueueRefusesOneTextAndManyAlike) {
  EngineOptions options;
  options.max_queue_tokens = 100;
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  EXPECT_EQ(a.embed(model, std::vector<std::string>(10, "a")).texts.size(), 10u);  // above the limit, but the queue is empty
  Done done;
  {
    const Block block(a, model);
    a.engine.submit(rows(model, {32, 32, 32}, done));
    for (const size_t texts : {size_t{1}, size_t{10}}) {
      try {
        a.embed(model, std::vector<std::string>(texts, "d"));
        ADD_FAILURE() << "not refused";
      } catch (const ApiError& error) {
        EXPECT_EQ(error.kind, ErrorKind::overloaded);
        EXPECT_GE(error.retry_after.value_or(0), 1);
      }
    }
  }
  EXPECT_EQ(done.get_future().get(), nullptr);
}

TEST(Engine, ALongTextInTheQueueMakesItRefuseNoShortOne) {
  EngineOptions options;
  options.queue_timeout = std::chrono::seconds(2);
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  Done slow, large, one;
  auto work = task(model, [] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }, slow);
  work->task->padded_tokens = 1024;
  a.engine.submit(work);
  EXPECT_EQ(slow.get_future().get(), nullptr);  // some 10,000 tokens a second
  {
    const Block block(a, model);
    auto waits = task(model, [] {}, large);
    waits->task->padded_tokens = 100'000;
    a.engine.submit(waits);
    EXPECT_NO_THROW(a.engine.submit(rows(model, {32}, one)));
  }
  EXPECT_EQ(large.get_future().get(), nullptr);
  EXPECT_EQ(one.get_future().get(), nullptr);
}

// What a few tokens took says little about how long a long queue takes.
TEST(Engine, SmallBatchesDoNotMakeItRefuse) {
  EngineOptions options;
  options.queue_timeout = std::chrono::seconds(2);
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  Done slow, many, one;
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); };
  auto work = task(model, sleep, slow);
  work->task->padded_tokens = 8;
  a.engine.submit(work);
  EXPECT_EQ(slow.get_future().get(), nullptr);  // 80 tokens a second
  {
    const Block block(a, model);
    a.engine.submit(rows(model, std::vector<int>(100, 32), many));
    EXPECT_NO_THROW(a.engine.submit(rows(model, {32}, one)));
  }
  EXPECT_EQ(many.get_future().get(), nullptr);
  EXPECT_EQ(one.get_future().get(), nullptr);
}

TEST(Engine, RefusesWhatLargeBatchesSayComesTooLate) {
  EngineOptions options;
  options.queue_timeout = std::chrono::seconds(2);
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  Done slow, many;
  auto work = task(model, [] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }, slow);
  work->task->padded_tokens = 1024;
  a.engine.submit(work);
  EXPECT_EQ(slow.get_future().get(), nullptr);  // some 10,000 tokens a second
  {
    const Block block(a, model);
    a.engine.submit(rows(model, std::vector<int>(1000, 32), many));
    EXPECT_EQ(kind_of([&] { a.embed(model, {"a"}); }), ErrorKind::overloaded);
  }
  many.get_future().wait();
}

TEST(Engine, TextsOfAClientThatHasGoneAreNotComputed) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  const auto caller = std::make_shared<TestCaller>();
  {
    const Block block(a, model);
    a.service.embed(caller, model, inputs_of_texts({"a", "b"}), {}, std::nullopt, std::nullopt, [](Vectors&&) { ADD_FAILURE(); });
    caller->is_gone = true;
  }
  EXPECT_THROW(std::rethrow_exception(caller->failure.get_future().get()), ApiError);
  EXPECT_EQ(a.engine.stats().rows, 0u);
  EXPECT_EQ(a.engine.stats().abandoned, 2u);
}

// The values do not depend on it.
TEST(Engine, SmallBatchesRunBetweenTheLayersOfALargeOne) {
  EngineOptions options;
  options.max_batch_tokens = 1 << 20;
  options.max_batch_rows = 1 << 20;
  AService a(options);
  const ServedModel& model = a.add(tiny_models().m2);
  Done large_done;
  const auto large = rows(model, std::vector<int>(3000, 32), large_done);
  std::atomic<bool> stop{false};
  auto small = std::async(std::launch::async, [&] {
    TextSettings settings;
    settings.pad = infer::PadMode::bucket;
    std::vector<std::vector<float>> all;
    while (!stop) all.push_back(a.embed(model, {"a b"}, settings).values);
    return all;
  });
  a.engine.submit(large);
  EXPECT_EQ(large_done.get_future().get(), nullptr);
  stop = true;
  const auto vectors = small.get();
  EXPECT_GT(a.engine.stats().yields, 0u);
  for (const auto& vector : vectors) ASSERT_EQ(vector, vectors.front());
  for (const Row& row : large->rows) ASSERT_EQ(row.values, large->rows.front().values);
}

TEST(Engine, StopsWithWorkInTheQueue) {
  Done one, two;
  {
    AService a;
    const ServedModel& model = a.add(tiny_models().m2);
    std::promise<void> begun;
    const auto wait = [&] {
      begun.set_value();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    };
    a.engine.submit(task(model, wait, one));
    begun.get_future().wait();
    a.engine.submit(task(model, [] { ADD_FAILURE() << "ran"; }, two));
  }
  EXPECT_EQ(one.get_future().get(), nullptr);
  const auto error = two.get_future().get();
  EXPECT_EQ(kind_of([&] { std::rethrow_exception(error); }), ErrorKind::unavailable);
}

}  // namespace
}  // namespace m2bert::serve
