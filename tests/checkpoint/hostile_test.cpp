// Broken and hostile files, one named case each: opening gives one clear Error, never a crash, a hang or a partly read tensor.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

struct Case {
  std::string name;
  std::string file;    // the whole content
  std::string expect;  // a part of the message
};
// Grows by one statement per case: one large initialiser takes compilers minutes.
struct Cases {
  std::vector<Case> all;
  void operator()(Case c) { all.push_back(std::move(c)); }
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Opens the file and reads all tensors.
void read_all(const std::filesystem::path& path) {
  auto file = TensorFile::open(path);
  for (const auto& t : file->tensors()) mx::eval(file->read(t));
  load_weights(path);
}

// ---- pickles that try to run code ----

// The payload in a dict, next to a good tensor.
std::string beside(const std::string& payload) { return torch_zip(proto(4) + dict(text("w") + tensor() + text("x") + payload) + "."); }

void code_cases(Cases& add) {
  std::string run = text("touch /tmp/owned");
  std::string arguments = tuple(run);
  add({"reduce_os_system", beside(call("os", "system", run)), "os.system"});
  add({"reduce_posix_system", beside(call("posix", "system", run)), "posix.system"});
  add({"reduce_nt_system", beside(call("nt", "system", run)), "nt.system"});
  add({"reduce_subprocess_popen", beside(call("subprocess", "Popen", run)), "subprocess.Popen"});
  add({"reduce_builtins_eval", beside(call("builtins", "eval", run)), "builtins.eval"});
  add({"reduce_builtins_exec", beside(call("builtins", "exec", run)), "builtins.exec"});
  add({"reduce_python2_eval", beside(call("__builtin__", "eval", run)), "__builtin__.eval"});
  add({"reduce_python2_execfile", beside(call("__builtin__", "execfile", run)), "execfile"});
  add({"reduce_compile", beside(call("builtins", "compile", run)), "builtins.compile"});
  add({"reduce_import", beside(call("builtins", "__import__", run)), "__import__"});
  add({"reduce_open", beside(call("builtins", "open", run)), "builtins.open"});
  add({"reduce_io_open", beside(call("io", "open", run)), "io.open"});
  add({"reduce_breakpoint", beside(call("builtins", "breakpoint", "")), "breakpoint"});
  add({"reduce_runpy", beside(call("runpy", "run_path", run)), "runpy.run_path"});
  add({"reduce_importlib", beside(call("importlib", "import_module", run)), "importlib"});
  add({"reduce_socket", beside(call("socket", "create_connection", run)), "socket"});
  add({"reduce_shutil", beside(call("shutil", "rmtree", run)), "shutil.rmtree"});
  add({"reduce_webbrowser", beside(call("webbrowser", "open", run)), "webbrowser.open"});
  add({"reduce_ctypes", beside(call("ctypes", "CDLL", run)), "ctypes.CDLL"});
  add({"reduce_pty", beside(call("pty", "spawn", run)), "pty.spawn"});
  add({"reduce_asyncio", beside(call("asyncio.subprocess", "create_subprocess_shell", run)), "asyncio"});
  add({"reduce_timeit", beside(call("timeit", "timeit", run)), "timeit"});
  add({"reduce_pickle_loads", beside(call("pickle", "loads", run)), "pickle.loads"});
  add({"reduce_torch_load", beside(call("torch", "load", run)), "torch.load"});
  add({"reduce_torch_hub", beside(call("torch.hub", "load", run)), "torch.hub.load"});
  add({"reduce_numpy_load", beside(call("numpy", "load", run)), "numpy.load"});
  add({"reduce_methodcaller", beside(call("operator", "methodcaller", run)), "methodcaller"});
  add({"reduce_sys_modules", beside(global("sys", "modules")), "sys.modules"});
  add({"global_named_only", beside(global("os", "system")), "os.system"});
  add({"global_dotted_name", beside(global("builtins", "eval.__call__")), "builtins.eval"});
  add({"inst_os_system", beside("(" + run + "ios\nsystem\n"), "os.system"});
  add({"obj_os_system", beside("(" + global("os", "system") + run + "o"), "os.system"});
  add({"newobj_os", beside(global("os", "system") + arguments + "\x81"), "os.system"});
  add({"newobj_ex_subprocess", beside(global("subprocess", "Popen") + arguments + "}\x92"), "subprocess.Popen"});
  add({"stack_global_eval", beside(text("builtins") + text("eval") + "\x93" + arguments + "R"), "builtins.eval"});
  add({"stack_global_os", beside(text("os") + text("system") + "\x93" + arguments + "R"), "os.system"});
  add({"stack_global_memoized", beside(text("os") + "\x94" + "0" + std::string("h\0", 2) + text("system") + "\x93" + arguments + "R"),
       "os.system"});
  add({"build_with_setstate", beside(global("os", "environ") + "}b"), "os.environ"});
  add({"key_is_payload", torch_zip(proto() + dict(call("os", "system", run) + integer(1)) + "."), "os.system"});
  add({"root_is_payload", torch_zip(proto() + call("os", "system", run) + "."), "os.system"});
  add({"tensor_argument_is_payload", torch_zip(proto() + call("torch._utils", "_rebuild_tensor_v2", call("os", "system", run)) + "."),
       "os.system"});
  add({"parameter_of_payload", torch_zip(proto() + call("torch._utils", "_rebuild_parameter", call("os", "system", run)) + "."),
       "os.system"});
  add({"persistent_id_is_payload", torch_zip(proto() + call("os", "system", run) + "Q."), "os.system"});
  add({"popped_before_use", torch_zip(proto() + call("os", "system", run) + "0" + dict(text("w") + tensor()) + "."), "os.system"});
  add({"legacy_object", legacy_file(proto() + call("os", "system", run) + "."), "os.system"});
  add({"legacy_key_list",
       legacy_head() + proto() + dict(text("w") + tensor(legacy_spec())) + "." + proto() + call("os", "system", run) + ".", "os.system"});
  add({"legacy_system_info", legacy_head().substr(0, 15) + proto() + "M\xe9\x03." + proto() + call("os", "system", run) + ".",
       "os.system"});
  add({"unknown_class_alone", torch_zip(proto() + call("my.module", "Model", run) + "."), "my.module.Model"});
  add({"call_of_a_call", torch_zip(proto() + call("my", "f", "") + tuple(run) + "R."), "without model weights"});
  add({"call_of_a_number", torch_zip(proto() + integer(1) + arguments + "R."), "not a function"});
  add({"call_without_tuple", torch_zip(proto() + global("my", "f") + integer(1) + "R."), "not a tuple"});
  add({"newobj_of_a_number", torch_zip(proto() + integer(1) + arguments + "\x81."), "not a class"});
  add({"build_on_a_number", torch_zip(proto() + integer(1) + "}b."), "not an object"});
  add({"stack_global_of_numbers", torch_zip(proto() + integer(1) + integer(2) + "\x93."), "not text"});
  add({"extension_code", torch_zip(proto() + "\x82\x01."), "extension code"});
  add({"extension_code_4", torch_zip(proto() + "\x84" + little(1, 4) + "."), "extension code"});
  add({"class_name_with_control", torch_zip(proto() + "cmy\rmod\nf\n."), "bad class name"});
  add({"class_name_empty", torch_zip(proto() + "c\n\n."), "bad class name"});
}

// ---- malformed pickles ----

void pickle_cases(Cases& add) {
  std::string deep, laughs, self;
  deep = "]" + std::string(5000, ']') + std::string(5000, 'a');
  auto byte = [](int i) { return std::string(1, static_cast<char>(i)); };
  laughs = "]q" + byte(0) + "0";
  for (int i = 0; i < 60; ++i) laughs += "](h" + byte(i) + "h" + byte(i) + "eq" + byte(i + 1) + "0";
  laughs += "h" + byte(60);
  self = "}q" + std::string(1, '\0') + "(" + text("a") + "h" + std::string(1, '\0') + text("b") + "h" + std::string(1, '\0') + "u";
  auto file = [](const std::string& body) { return torch_zip(proto() + body); };
  add({"pickle_empty", torch_zip(""), "truncated"});
  add({"pickle_without_stop", file(dict(text("w") + tensor())), "truncated"});
  add({"pickle_stop_alone", file("."), "empty stack"});
  add({"pickle_values_left", file("NN."), "left on the stack"});
  add({"pickle_mark_left", file("N(N."), "empty stack|left on the stack"});
  add({"pickle_bytes_behind", file("N.N"), "after the end"});
  add({"pickle_protocol_6", torch_zip("\x80\x06N."), "protocol 6"});
  add({"pickle_protocol_255", torch_zip("\x80\xffN."), "protocol 255"});
  add({"pickle_unknown_opcode", file("\xff."), "opcode 255"});
  add({"pickle_opcode_zero", file(std::string("\0", 1) + "."), "opcode 0"});
  add({"pickle_out_of_band", file("\x97."), "out-of-band"});
  add({"pickle_pop_empty", file("0."), "empty stack"});
  add({"pickle_dup_empty", file("2."), "empty stack"});
  add({"pickle_pop_mark_without_mark", file("N1."), "wants a mark"});
  add({"pickle_tuple_without_mark", file("Nt."), "wants a mark"});
  add({"pickle_tuple3_of_two", file("NN\x87."), "empty stack"});
  add({"pickle_append_to_dict", file("}Na."), "not a list"});
  add({"pickle_append_below_mark", file("](Na."), "empty stack"});
  add({"pickle_setitem_on_list", file("]NNs."), "not a dict"});
  add({"pickle_setitems_odd", file("}(Nu."), "odd number"});
  add({"pickle_dict_odd", file("(Nd."), "odd number"});
  add({"pickle_key_is_list", file("}]Ns."), "a key that is a list"});
  add({"pickle_additems_on_list", file("](N\x90."), "not a set"});
  add({"pickle_memo_missing", file("h\x05."), "never stored"});
  add({"pickle_memo_missing_long", file("j\xff\xff\xff\xff."), "never stored"});
  add({"pickle_memo_text_key", file("Npx\n."), "bad memo key"});
  add({"pickle_memo_negative_key", file("Np-1\n."), "bad memo key"});
  add({"pickle_memo_huge_key", file("Np99999999999999999999\n."), "bad memo key"});
  add({"pickle_put_on_empty", file(std::string("q\0", 2) + "N."), "empty stack"});
  add({"pickle_string_too_long",
       file("X\xff\xff\xff\x7f"
            "a."),
       "truncated"});
  add({"pickle_string8_wraps",
       file("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
            "a."),
       "truncated"});
  add({"pickle_bytes8_huge", file("\x8e" + little(uint64_t{1} << 62, 8) + "."), "truncated"});
  add({"pickle_negative_length", file("T\xff\xff\xff\xff."), "negative length"});
  add({"pickle_long4_negative", file("\x8b\xff\xff\xff\xff."), "negative length"});
  add({"pickle_long4_huge", file("\x8b\xff\xff\xff\x7f."), "truncated"});
  add({"pickle_frame_too_long", file("\x95" + little(1000, 8) + "N."), "frame"});
  add({"pickle_line_without_end", file("I12345678."), "without an end"});
  add({"pickle_bad_int", file("Iabc\n."), "bad number"});
  add({"pickle_bad_float", file("F1.2.3\n."), "bad number"});
  add({"pickle_string_without_quotes", file("Sabc\n."), "without quotes"});
  add({"pickle_text_not_utf8", file("X\x02" + std::string(3, '\0') + "\xff\xfe."), "not UTF-8"});
  add({"pickle_deep_nesting", file(deep + "."), "deep in one another"});
  add({"pickle_contains_itself", file(self + "."), "more than"});
  add({"pickle_billion_laughs", file(laughs + "."), "more than"});
  add({"pickle_many_marks", file(std::string(20'000, '(') + "."), "marks"});
  add({"pickle_dup_flood", file("N" + std::string(1'200'000, '2') + "."), "on the stack"});
  add({"pickle_none_flood", file("(" + std::string(1'200'000, 'N') + "l."), "on the stack"});
  add({"pickle_no_tensors", file("}."), "without model weights"});
  add({"pickle_only_a_number", file("K\x01."), "without model weights"});
}

// ---- tensors and storages that do not fit ----

Case tensor_case(const std::string& name, const TensorSpec& t, const std::string& expect) {
  return {"tensor_" + name, torch_zip(tensor_dict(t)), expect};
}

void tensor_cases(Cases& add) {
  constexpr int64_t huge = int64_t{1} << 62;
  auto rebuild = [](const std::string& arguments) {
    return torch_zip(proto() + dict(text("w") + call("torch._utils", "_rebuild_tensor_v2", arguments)) + ".");
  };
  std::string good_tail = integers({2, 3}) + integers({3, 1}) + "\x89" + call("collections", "OrderedDict", "");
  std::string id = text("storage") + global("torch", "FloatStorage");
  add(tensor_case("shape_beyond_storage", {.shape = {3, 3}}, "beyond its storage"));
  add(tensor_case("offset_beyond_storage", {.first = 1}, "beyond its storage"));
  add(tensor_case("offset_negative", {.first = -1}, "offset of -1"));
  add(tensor_case("offset_huge", {.first = INT64_MAX}, "beyond its storage"));
  add(tensor_case("offset_plus_shape_wraps", {.first = INT64_MAX, .strides = {INT64_MAX, 1}}, "overflow|beyond"));
  add(tensor_case("shape_negative", {.shape = {-2, 3}}, "shape of -2"));
  add(tensor_case("shape_wraps_64_bits", {.shape = {huge, huge}, .strides = {0, 0}}, "overflow"));
  add(tensor_case("shape_huge_stride_zero", {.shape = {int64_t{1} << 40, 3}, .strides = {0, 1}}, "expands"));
  add(tensor_case("stride_negative", {.strides = {-3, 1}}, "strides of -3"));
  add(tensor_case("stride_huge", {.strides = {huge, 1}}, "beyond its storage"));
  add(tensor_case("stride_wraps", {.shape = {5, 2}, .strides = {huge, huge}}, "overflow|beyond"));
  add(tensor_case("fewer_strides", {.strides = {1}}, "dimensions and 1 strides"));
  add(tensor_case("more_strides", {.strides = {3, 1, 1}}, "dimensions and 3 strides"));
  add(tensor_case("100_dimensions", {.shape = std::vector<int64_t>(100, 1), .strides = std::vector<int64_t>(100, 1)}, "100 dimensions"));
  add(tensor_case("storage_too_small_for_count", {.count = 7}, "want 28"));
  add(tensor_case("storage_longer_than_count", {.count = 5, .shape = {5}, .strides = {1}}, "want 20"));
  add(tensor_case("storage_count_negative", {.count = -6}, "length of -6"));
  add(tensor_case("storage_count_wraps", {.count = huge}, "a storage of"));
  add(tensor_case("storage_missing", {.key = "9"}, "not in the file"));
  add(tensor_case("storage_key_is_path", {.key = "../../etc/passwd"}, "not in the file"));
  add(tensor_case("storage_wrong_dtype", {.storage_class = "DoubleStorage"}, "want 48"));
  add(tensor_case("storage_unknown_class", {.storage_class = "QuaternionStorage"}, "unknown class"));
  add(tensor_case("dtype_complex128", {.storage_class = "ComplexDoubleStorage", .count = 1, .shape = {1}, .strides = {1}}, "want 16"));
  const auto metadata = [&](const std::string& value) { return rebuild(storage() + integer(0) + good_tail + value); };
  add({"metadata_is_list", metadata("]"), "not a dict"});
  add({"metadata_unknown", metadata(dict(text("transposed") + "\x88")), "unknown metadata 'transposed'"});
  add({"metadata_key_is_number", metadata(dict(integer(1) + "\x88")), "unknown metadata"});
  add({"metadata_is_number", metadata(dict(text("neg") + integer(1))), "not a bool"});
  add({"conj_of_floats", metadata(dict(text("conj") + "\x88")), "complex conjugate"});
  const std::string ints = storage({.storage_class = "IntStorage"}) + integer(0) + good_tail + dict(text("neg") + "\x88");
  add({"neg_of_integers", rebuild(ints), "lazy negative"});
  add({"wrapper_without_class", torch_zip(proto() + dict(text("w") + call("torch._utils", "_rebuild_wrapper_subclass", "")) + "."),
       "without arguments"});
  add({"subclass_of_three", torch_zip(proto() + dict(text("w") + call("torch._tensor", "_rebuild_from_type_v2", integer(1))) + "."),
       "other arguments"});
  add({"tensor_without_arguments", rebuild(""), "0 arguments"});
  add({"tensor_of_a_number", rebuild(integer(1) + integer(0) + good_tail), "not a storage of the file"});
  add({"tensor_offset_is_text", rebuild(storage() + text("0") + good_tail), "not an integer"});
  add({"tensor_shape_is_number", rebuild(storage() + integer(0) + integer(2) + integers({3, 1})), "not a tuple"});
  add({"tensor_shape_holds_text", rebuild(storage() + integer(0) + tuple(text("2")) + integers({1})), "not an integer"});
  add({"tensor_two_of_one_name", torch_zip(proto() + dict(text("a.b") + tensor() + text("a") + dict(text("b") + tensor())) + "."),
       "two tensors with the name"});
  add({"tensor_name_too_long", torch_zip(proto() + dict(text(std::string(5000, 'a')) + tensor()) + "."), "name longer"});
  add({"parameter_without_tensor", torch_zip(proto() + dict(text("w") + call("torch._utils", "_rebuild_parameter", "")) + "."),
       "without its tensor"});
  add({"parameter_of_number", torch_zip(proto() + dict(text("w") + call("torch._utils", "_rebuild_parameter", integer(1))) + "."),
       "not a tensor"});
  add({"subclass_with_other_arguments",
       torch_zip(proto() + dict(text("w") + call("torch._tensor", "_rebuild_from_type_v2", integer(1))) + "."), "other arguments"});
  add({"v3_unknown_dtype",
       torch_zip(
           proto() +
           dict(text("w") + call("torch._utils", "_rebuild_tensor_v3", storage() + integer(0) + good_tail + global("torch", "float7"))) +
           "."),
       "unknown dtype"});
  add({"v3_dtype_is_number",
       torch_zip(proto() + dict(text("w") + call("torch._utils", "_rebuild_tensor_v3", storage() + integer(0) + good_tail + integer(1))) +
                 "."),
       "not a torch.dtype"});
  add({"persistent_id_is_number", torch_zip(proto() + dict(text("w") + integer(1) + "Q") + "."), "not a storage"});
  add({"persistent_id_other_tag", torch_zip(proto() + dict(text("w") + tuple(text("module") + id + integer(1) + integer(1)) + "Q") + "."),
       "not a storage"});
  add({"persistent_id_too_short", torch_zip(proto() + dict(text("w") + tuple(id) + "Q") + "."), "not a storage"});
  add({"persistent_id_without_class",
       torch_zip(proto() + dict(text("w") + tuple(text("storage") + integer(1) + text("0") + text("cpu") + integer(6)) + "Q") + "."),
       "without a class"});
  add({"persistent_id_without_key", torch_zip(proto() + dict(text("w") + tuple(id + integer(0) + text("cpu") + integer(6)) + "Q") + "."),
       "without a key"});
  add({"persistent_id_as_text_line", torch_zip(proto() + dict(text("w") + "P0\n") + "."), "not a storage"});
  add({"weights_same_name_twice", torch_zip(proto() + dict(text("module.w") + tensor() + text("w") + tensor()) + "."),
       "are both the weight"});
}

// ---- zip archives ----

void zip_cases(Cases& add) {
  std::string pickle = tensor_dict();
  auto with = [&](const ZipPart& part) { return torch_zip(pickle, {part}); };
  auto lying = [&](const ZipLies& lies) { return zip({{"a/data.pkl", pickle}, {"a/data/0", floats(6)}}, lies); };
  std::string good = torch_zip(pickle);
  std::string damaged_pickle = good, damaged_data = good;
  damaged_pickle[good.find("_rebuild")] ^= 1;
  damaged_data[good.find("a/data/0") + 8 + 4] ^= 1;
  std::string locator = "PK\6\7" + little(0, 4) + little(uint64_t{1} << 60, 8) + little(1, 4);
  add({"zip_compressed", with({.name = "a/data/0", .bytes = floats(6), .method = 8}), "compressed"});
  add({"zip_bomb_deflate", with({.name = "a/data/0", .bytes = floats(6), .plain = 0x7fffffff, .method = 8}), "compressed"});
  add({"zip_encrypted", with({.name = "a/data/0", .bytes = floats(6), .flags = 1}), "encrypted"});
  add({"zip_bomb_stored", with({.name = "a/data/0", .bytes = floats(6), .plain = 0x7fffffff}), "should have"});
  add({"zip_entry_beyond_data", with({.name = "a/data/0", .bytes = floats(6), .packed = 0x7fffffff, .plain = 0x7fffffff}),
       "beyond the data"});
  add({"zip_bomb_overlap",
       zip({{.name = "a/data.pkl", .bytes = pickle},
            {.name = "a/data/0", .bytes = floats(6)},
            {.name = "a/data.pkl", .bytes = "", .header_at = 0}}),
       "differ|twice|overlap"});
  add({"zip_overlapping_sizes",
       zip({{.name = "a/data/0", .bytes = floats(6), .packed = 60, .plain = 60}, {.name = "a/data.pkl", .bytes = pickle}}), "overlap"});
  add({"zip_header_elsewhere", with({.name = "a/data/0", .bytes = floats(6), .header_at = 3}), "does not begin"});
  add({"zip_header_beyond_file", with({.name = "a/data/0", .bytes = floats(6), .header_at = 0x7fffffff}), "does not begin"});
  add({"zip_other_name_in_header", with({.name = "a/data/0", .bytes = floats(6), .local_name = "a/data/1"}), "another name"});
  add({"zip_other_size_in_header", with({.name = "a/data/0", .bytes = floats(6), .local_plain = 7}), "differ in size"});
  add({"zip_name_twice", torch_zip(pickle, {{"a/data/0", floats(6)}, {"a/data/0", floats(6)}}), "twice"});
  add({"zip_name_not_utf8", with({.name = "a/data/\xff", .bytes = floats(6)}), "bad name"});
  add({"zip_name_with_nul", with({.name = std::string("a/data/0\0x", 10), .bytes = floats(6)}), "bad name"});
  add({"zip_name_empty", with({.name = "", .bytes = floats(6)}), "bad name"});
  add({"zip_wrong_crc", with({.name = "a/data/0", .bytes = floats(6), .crc = 1}), "checksum"});
  add({"zip_damaged_pickle", damaged_pickle, "checksum"});
  add({"zip_damaged_data", damaged_data, "checksum"});
  add({"zip_without_end", good.substr(0, good.size() - 22), "no directory"});
  add({"zip_end_only_half", good.substr(0, good.size() - 10), "no directory"});
  add({"zip_bytes_behind", good + "x", "no directory"});
  add({"zip_directory_beyond_file", lying({.directory_at = 0x7fffffff}), "outside the file"});
  add({"zip_directory_size_wrong", lying({.directory_size = 10}), "between the directory|cannot hold"});
  add({"zip_directory_too_many", lying({.entries = 3}), "mark|cannot hold|truncated|longer"});
  add({"zip_directory_too_few", lying({.entries = 1}), "more than its"});
  add({"zip_directory_65000_entries", lying({.entries = 65000}), "cannot hold"});
  add({"zip_gap_before_end", lying({.before_end = "xxxx"}), "between the directory"});
  add({"zip64_locator_lies", lying({.before_end = locator}), "zip64"});
  add({"zip_without_pickle", zip({{"a/data/0", floats(6)}}), "without data.pkl"});
  add({"zip_office_document", zip({{"[Content_Types].xml", "x"}}), "Office"});
  add({"zip_numpy", zip({{"w.npy", "x"}}), ".npz"});
  add({"zip_two_pickles", zip({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}}), "2 data.pkl"});
  add({"zip_big_endian", torch_zip(pickle, {{"a/data/0", floats(6)}}, "big"), "big-endian"});
  add({"zip_byteorder_unknown", torch_zip(pickle, {{"a/data/0", floats(6)}}, "middle"), "byteorder"});
  add({"zip_version_unknown", torch_zip(pickle, {{"a/data/0", floats(6)}}, "little", "99\n"), "version"});
  add({"zip_version_no_number", torch_zip(pickle, {{"a/data/0", floats(6)}}, "little", "x"), "version"});
  add({"zip_empty_archive", "PK\5\6" + std::string(18, '\0'), "empty zip"});
  add({"zip_mark_alone", "PK\3\4", "truncated"});
}

// ---- legacy files ----

void legacy_cases(Cases& add) {
  std::string pickle = proto() + dict(text("w") + tensor(legacy_spec())) + ".";
  auto viewed = [](const std::string& view) {
    TensorSpec t;
    t.tail = view;
    return legacy_file(proto() + dict(text("w") + tensor(t)) + ".");
  };
  std::string good = legacy_file(pickle);
  add({"legacy_big_endian", legacy_head(false) + good.substr(legacy_head().size()), "big-endian"});
  add({"legacy_protocol", legacy_head(true, 999) + good.substr(legacy_head().size()), "1001"});
  add({"legacy_storage_count_negative", legacy_file(pickle, {{"0", little(~uint64_t{0}, 8) + floats(6)}}), "are left"});
  add({"legacy_storage_count_huge", legacy_file(pickle, {{"0", little(uint64_t{1} << 62, 8) + floats(6)}}), "are left"});
  add({"legacy_storage_count_small", legacy_file(pickle, {{"0", little(5, 8) + floats(6)}}), "after the last|want 24"});
  add({"legacy_storage_short", legacy_file(pickle, {{"0", little(6, 8) + floats(5)}}), "truncated"});
  add({"legacy_storage_missing", legacy_file(pickle, {{"0", ""}}), "missing"});
  add({"legacy_storage_not_listed", legacy_file(pickle, {}), "not in the file"});
  add({"legacy_storage_unknown", legacy_file(pickle, {{"0", little(6, 8) + floats(6)}, {"7", little(6, 8) + floats(6)}}),
       "belongs to no tensor"});
  add({"legacy_storage_twice", legacy_file(pickle, {{"0", little(6, 8) + floats(6)}, {"0", little(6, 8) + floats(6)}}), "twice"});
  add({"legacy_bytes_behind", good + "x", "after the last"});
  add({"legacy_keys_no_list", legacy_head() + pickle + proto() + "}.", "not a list"});
  add({"legacy_key_is_number", legacy_head() + pickle + proto() + "](K\1e.", "not text"});
  add({"legacy_view_no_tuple", viewed(integer(1)), "not a tuple of 3"});
  add({"legacy_view_beyond", viewed(tuple(text("v") + integer(4) + integer(6))), "a view of"});
  add({"legacy_view_negative", viewed(tuple(text("v") + integer(-1) + integer(6))), "offset of -1"});
  add({"legacy_view_too_small", viewed(tuple(text("v") + integer(1) + integer(5))), "beyond its storage"});
  add({"legacy_magic_alone", legacy_head().substr(0, 16), "truncated|magic"});
}

// ---- safetensors ----

std::string entry(const std::string& offsets = "[0,24]", const std::string& shape = "[2,3]", const std::string& dtype = "\"F32\"") {
  return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}
Case st(const std::string& name, const std::string& header, const std::string& expect, const std::string& data = floats(6)) {
  return {"safetensors_" + name, safetensors(header, data), expect};
}
Case st_entry(const std::string& name, const std::string& value, const std::string& expect) {
  return st(name, R"({"w":)" + value + "}", expect);
}

void safetensors_cases(Cases& add) {
  std::string good = R"({"w":)" + entry() + "}";
  std::string two = R"({"a":)" + entry("[0,12]", "[3]");
  std::string deep = std::string(1000, '[') + std::string(1000, ']');
  add(st("overlap", two + R"(,"b":)" + entry("[8,20]", "[3]") + "}", "overlaps"));
  add(st("same_bytes_twice", two + R"(,"b":)" + entry("[0,12]", "[3]") + "}", "overlaps"));
  add(st("hole", two + R"(,"b":)" + entry("[16,24]", "[2]") + "}", "hole"));
  add(st("hole_at_start", R"({"w":)" + entry("[4,24]", "[5]") + "}", "hole"));
  add(st("trailing_bytes", good, "after the last tensor", floats(7)));
  add(st("trailing_byte", good, "after the last tensor", floats(6) + "x"));
  add(st("truncated_data", good, "truncated", floats(5)));
  add(st("no_data", good, "truncated", ""));
  add(st("no_tensors_but_data", "{}", "after the last tensor"));
  add(st("no_tensors", "{}", "without model weights", ""));
  add(st("duplicate_key", two + R"(,"a":)" + entry("[12,24]", "[3]") + "}", "a"));
  add(st("duplicate_field", R"({"w":{"dtype":"F32","dtype":"F32","shape":[6],"data_offsets":[0,24]}})", "dtype"));
  add(st_entry("wrapping_dimensions", entry("[0,24]", "[4294967296,4294967296]"), "2147483647"));
  add(st_entry("wrapping_product", entry("[0,24]", "[2147483647,2147483647,2147483647]"), "overflow"));
  add(st_entry("dimension_2_to_31", entry("[0,24]", "[2147483648]"), "2147483647"));
  add(st_entry("dimension_negative", entry("[0,24]", "[-2,-3]"), "-2"));
  add(st_entry("dimension_fraction", entry("[0,24]", "[2.5,3]"), "2.5"));
  add(st_entry("dimension_as_exponent", entry("[0,24]", "[6e0]"), "whole number"));
  add(st_entry("dimension_text", entry("[0,24]", "[\"2\",3]"), "whole number"));
  add(st_entry("dimension_2_to_64", entry("[0,24]", "[18446744073709551616]"), "whole number"));
  add(st_entry("shape_mismatch", entry("[0,24]", "[2,2]"), "need 16"));
  add(st_entry("shape_no_list", entry("[0,24]", "6"), "w"));
  add(st_entry("100_dimensions",
               entry(
                   "[0,24]", "[6" +
                                 [] {
                                   std::string s;
                                   for (int i = 0; i < 99; ++i) s += ",1";
                                   return s;
                                 }() +
                                 "]"),
               "100 dimensions"));
  add(st_entry("offsets_reversed", entry("[24,0]"), "bytes 24 to 0"));
  add(st_entry("offsets_negative", entry("[-24,0]"), "-24"));
  add(st_entry("offsets_beyond", entry("[0,1000000]"), "truncated"));
  add(st_entry("offsets_huge", entry("[0,9223372036854775807]"), "truncated"));
  add(st_entry("offsets_2_to_64", entry("[0,18446744073709551615]"), "whole number"));
  add(st_entry("offsets_three", entry("[0,12,24]"), "3 data_offsets"));
  add(st_entry("offsets_none", entry("[]"), "0 data_offsets"));
  add(st_entry("dtype_unknown", entry("[0,24]", "[2,3]", "\"F31\""), "F31"));
  add(st_entry("dtype_lower_case", entry("[0,24]", "[2,3]", "\"f32\""), "f32"));
  add(st_entry("dtype_number", entry("[0,24]", "[2,3]", "32"), "dtype"));
  add(st_entry("dtype_float8_refused_on_read", entry("[0,24]", "[24]", "\"F8_E4M3\""), "float8_e4m3fn"));
  for (const char* dtype : {"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}) {
    const int values = dtype[1] == '8' ? 24 : dtype[1] == '6' ? 32 : 48;
    const std::string name = "\"" + std::string(dtype) + "\"", shape = "[" + std::to_string(values) + "]";
    add(st_entry("dtype_" + std::string(dtype) + "_refused_on_read", entry("[0,24]", shape, name), "which MLX does not have"));
    add(st_entry("dtype_" + std::string(dtype) + "_too_long", entry("[0,24]", "[9," + std::to_string(values) + "]", name), "need 216"));
  }
  add(st_entry("dtype_F4_half_a_byte", entry("[0,24]", "[47]", "\"F4\""), "188 bits"));
  add(st_entry("dtype_F6_part_of_a_byte", entry("[0,24]", "[31]", "\"F6_E2M3\""), "186 bits"));
  add(st_entry("dtype_F4_wraps", entry("[0,24]", "[2147483647,2147483647,4]", "\"F4\""), "overflow"));
  add(st_entry("field_missing", R"({"dtype":"F32","shape":[2,3]})", "data_offsets"));
  add(st_entry("field_unknown", R"({"dtype":"F32","shape":[2,3],"data_offsets":[0,24],"x":1})", "nothing else"));
  add(st_entry("entry_is_list", "[]", "wants a map"));
  add(st_entry("entry_is_null", "null", "wants a map"));
  add(st("metadata_is_list", R"({"__metadata__":[],"w":)" + entry() + "}", "__metadata__"));
  add(st("metadata_holds_number", R"({"__metadata__":{"a":1},"w":)" + entry() + "}", "wants a string"));
  add(st("header_not_json", "{not json}", "header"));
  add(st("header_is_cut", good.substr(0, good.size() - 3), "header"));
  add(st("header_trailing_text", good + " x", "header"));
  add(st("header_is_list", "[1,2,3]", "neither a PyTorch nor a safetensors"));
  add(st("header_not_utf8", "{\"\xff\":" + entry() + "}", "UTF-8"));
  add(st("header_deep", R"({"w":)" + deep + "}", "header"));
  add(st("header_control_character", "{\"a\nb\":" + entry() + "}", "header"));
  add(st("header_lone_surrogate", R"({"\ud800":)" + entry() + "}", "header"));
  add({"safetensors_header_longer_than_file", little(1000, 8) + good, "truncated"});
  add({"safetensors_header_over_limit", little(100'000'001, 8) + good, "the limit is"});
  add({"safetensors_header_huge", little(uint64_t{1} << 39, 8) + good, "the limit is"});
  add({"safetensors_header_length_wraps", little(~uint64_t{0}, 8) + good, "neither a PyTorch nor a safetensors"});
  add({"safetensors_header_length_zero", little(0, 8) + good, "not a JSON object"});
}

// ---- files of other kinds ----

void other_cases(Cases& add) {
  std::string tar(1024, 'x');
  tar.replace(257, 5, "ustar");
  add({"file_empty", "", "empty"});
  add({"file_one_byte", "x", "neither"});
  add({"file_zeros", std::string(4096, '\0'), "zeros"});
  add({"file_tar", tar, "tar archive"});
  add({"file_gzip", "\x1f\x8b\x08" + std::string(20, 'x'), "gzip"});
  add({"file_zstd", "\x28\xb5\x2f\xfd" + std::string(20, 'x'), "zstd"});
  add({"file_hdf5", "\x89HDF\r\n\x1a\n" + std::string(20, 'x'), "HDF5"});
  add({"file_gguf", "GGUF" + std::string(20, '\1'), "GGUF"});
  add({"file_npy", "\x93NUMPY\x01" + std::string(20, 'x'), "NumPy"});
  add({"file_html", "<!DOCTYPE html><html></html>", "HTML"});
  add({"file_git_lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"});
  add({"file_plain_pickle", proto(4) + dict(text("a") + integer(1)) + std::string(".") + std::string(20, ' '), "plain pickle"});
  add({"file_json", "{\"a\": 1}           ", "JSON"});
  add({"file_text", "hello, this is no checkpoint at all", "hello"});
}

void truncation_cases(Cases& add) {
  std::string files[] = {torch_zip(tensor_dict()), legacy_file(proto() + dict(text("w") + tensor(legacy_spec())) + "."),
                         safetensors(R"({"w":)" + entry() + "}", floats(6))};
  const char* names[] = {"zip", "legacy", "safetensors"};
  for (size_t f = 0; f < 3; ++f)
    for (size_t part = 1; part < 16; ++part) {
      size_t size = files[f].size() * part / 16;
      add({std::string("truncated_") + names[f] + "_" + std::to_string(size), files[f].substr(0, size), ""});
    }
}

std::vector<Case> all_cases() {
  Cases cases;
  for (auto group : {code_cases, pickle_cases, tensor_cases, zip_cases, legacy_cases, safetensors_cases, other_cases, truncation_cases})
    group(cases);
  return std::move(cases.all);
}

class Hostile : public testing::TestWithParam<Case> {};

// `expect` may list alternatives, separated by |.
bool holds_one_of(const std::string& message, const std::string& expect) {
  size_t at = 0;
  while (true) {
    size_t bar = expect.find('|', at);
    if (message.find(expect.substr(at, bar - at)) != std::string::npos) return true;
    if (bar == std::string::npos) return false;
    at = bar + 1;
  }
}

TEST_P(Hostile, GivesOneClearError) {
  Folder folder;
  auto path = folder.write("hostile.bin", GetParam().file);
  try {
    read_all(path);
    FAIL() << "was read without an error";
  } catch (const Error& e) {
    std::string message = e.what();
    EXPECT_NE(message.find("hostile.bin"), std::string::npos) << message;
    EXPECT_TRUE(holds_one_of(message, GetParam().expect)) << message << "\nwanted: " << GetParam().expect;
    EXPECT_LT(message.size(), 2000u);
    EXPECT_TRUE(std::none_of(message.begin(), message.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoint, Hostile, testing::ValuesIn(all_cases()), [](const auto& info) { return info.param.name; });

TEST(HostileCount, IsWhatTheProjectPromises) { EXPECT_GE(all_cases().size(), 140u); }

// Any single flipped bit: an error, or the values of the good file (if the byte is unused), never anything else.
class Flipped : public testing::TestWithParam<std::string> {};

TEST_P(Flipped, BitsGiveAnErrorOrTheSameShapes) {
  std::string good = GetParam() == "zip"      ? torch_zip(tensor_dict())
                     : GetParam() == "legacy" ? legacy_file(proto() + dict(text("w") + tensor(legacy_spec())) + ".")
                                              : safetensors(R"({"w":)" + entry() + "}", floats(6));
  Folder folder;
  int refused = 0;
  for (size_t i = 0; i < good.size() * 8; i += 3) {
    std::string bad = good;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << (i % 8)));
    auto path = folder.write("flipped.bin", bad);
    try {
      auto file = TensorFile::open(path);
      for (const auto& t : file->tensors()) {
        mx::array a = file->read(t);
        EXPECT_LE(a.nbytes(), 48u) << "bit " << i;
        if (GetParam() == "zip" && t.dtype == "float32" && a.shape() == mx::Shape{2, 3}) {
          EXPECT_TRUE(mx::array_equal(a, mx::reshape(mx::arange(6.0f), {2, 3})).item<bool>()) << "bit " << i;
        }
      }
    } catch (const Error& e) {
      ++refused;
      EXPECT_NE(std::string(e.what()).find("flipped.bin"), std::string::npos) << e.what();
    }
  }
  EXPECT_GT(refused, static_cast<int>(good.size()) / (GetParam() == "zip" ? 1 : 4)) << "of " << good.size() * 8 / 3;
}
INSTANTIATE_TEST_SUITE_P(Checkpoint, Flipped, testing::Values("zip", "legacy", "safetensors"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace m2bert::checkpoint::test
