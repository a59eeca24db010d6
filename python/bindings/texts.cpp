#include "python/bindings/texts.h"

namespace m2bert::python {
namespace {

constexpr size_t kAhead = 2;           // windows that are ready before they are wanted
constexpr size_t kWindowBatches = 16;  // at most, see Batcher::next

}  // namespace

void TextWindows::Queue::push(Item item) {
  const std::lock_guard lock(mutex);
  items.push_back(std::move(item));
  changed.notify_one();
}

void TextWindows::Queue::end() {
  const std::lock_guard lock(mutex);
  ended = true;
  changed.notify_one();
}

bool TextWindows::Queue::pop(Item& item) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ended || !items.empty(); });
  if (items.empty()) return false;
  item = std::move(items.front());
  items.pop_front();
  return true;
}

TextWindows::TextWindows(infer::Batcher batcher, nb::iterator texts, bool pairs)
    : texts_(std::move(texts)),
      pairs_(pairs),
      window_(kWindowBatches * static_cast<size_t>(batcher.options().batch_size)),
      queue_(std::make_shared<Queue>()) {
  const auto next = [batcher = std::move(batcher), queue = queue_, pairs]() -> std::optional<infer::Window> {
    const auto pop = [&](std::string& first, std::string& second) {
      Item item;
      if (!queue->pop(item)) return false;
      std::tie(first, second) = std::move(item);
      return true;
    };
    std::string none;
    infer::Window window = pairs ? batcher.next_pairs(pop) : batcher.next([&](std::string& text) { return pop(text, none); });
    return window.texts() > 0 ? std::optional(std::move(window)) : std::nullopt;
  };
  ahead_ = std::make_unique<infer::ReadAhead<infer::Window>>(next, kAhead);
}

TextWindows::~TextWindows() {
  queue_->end();
  const WithoutGil released;
  ahead_.reset();
}

TextWindows::Item TextWindows::item_of(nb::handle value) const {
  const std::string what = (pairs_ ? "pair " : "text ") + std::to_string(read_);
  if (!pairs_) return {text_of(value, what), ""};
  if (!(nb::isinstance<nb::tuple>(value) || nb::isinstance<nb::list>(value)) || nb::len(value) != 2)
    throw nb::type_error((what + " is no pair of two str").c_str());
  return {text_of(value[0], what), text_of(value[1], what)};
}

// Reads as many texts as the other thread may want before the next call of next(), which then never waits for Python.
void TextWindows::read() {
  const uint64_t wanted = returned_ + (kAhead + 2) * window_;
  while (!ended_ && read_ < wanted) {
    const nb::object value = nb::steal(PyIter_Next(texts_.ptr()));
    if (!value.is_valid() && PyErr_Occurred()) throw nb::python_error();
    ended_ = !value.is_valid();
    if (ended_) return queue_->end();
    queue_->push(item_of(value));
    ++read_;
  }
}

std::optional<infer::Window> TextWindows::next() {
  read();
  const WithoutGil released;
  auto window = ahead_->next([] {
    check_signals();
    return false;
  });
  if (window) returned_ += window->texts();
  return window;
}

void for_each_window(TextWindows& windows, const mx::Device& device, const nb::object& progress, const UseWindow& use) {
  uint64_t first = 0;
  while (const auto window = windows.next()) {
    check_signals();  // compute() looks only while it waits long
    compute(device, [&](const Stop& stop) { use(*window, first, stop); });
    first += window->texts();
    if (!progress.is_none()) progress(first);
  }
}

std::string text_of(nb::handle value, const std::string& what) {
  if (!nb::isinstance<nb::str>(value))
    throw nb::type_error((what + " is " + nb::cast<std::string>(nb::str(value.type().attr("__name__"))) + ", not str").c_str());
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (!bytes) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw nb::python_error();
    PyErr_Clear();
    throw nb::value_error(
        (what + " has half of a surrogate pair, which is no character; text.encode('utf-8', 'replace').decode() replaces it").c_str());
  }
  return {bytes, static_cast<size_t>(size)};
}

}  // namespace m2bert::python
