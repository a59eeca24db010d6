#include "m2bert/data/text_head.h"

#include <algorithm>
#include <array>
#include <optional>

#include "m2bert/data/bad_record.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

using namespace std::string_view_literals;

// The first bytes of a kind of file, and what it is called.
struct Magic {
  std::string_view bytes;
  const char* kind;
  size_t at = 0;
};

constexpr std::array kMagics = {
    Magic{"\x93NUMPY"sv, "a NumPy array (.npy)"},
    Magic{"PK\x03\x04"sv, "a zip archive (as .npz, .pt, .docx and .xlsx files are)"},
    Magic{"PK\x05\x06"sv, "an empty zip archive"},
    Magic{"\x89PNG\r\n"sv, "a PNG image"},
    Magic{"\xFF\xD8\xFF"sv, "a JPEG image"},
    Magic{"GIF87a"sv, "a GIF image"},
    Magic{"GIF89a"sv, "a GIF image"},
    Magic{"WEBP"sv, "a WebP image", 8},
    Magic{"WAVE"sv, "a WAV recording", 8},
    Magic{"\x7F"
          "ELF"sv,
          "a program or library (ELF)"},
    Magic{"MZ"sv, "a program (EXE)"},
    Magic{"\xCF\xFA\xED\xFE"sv, "a program or library (Mach-O)"},
    Magic{"\xCA\xFE\xBA\xBE"sv, "a Java class or a Mach-O program"},
    Magic{"\0asm"sv, "a WebAssembly module"},
    Magic{"%PDF-"sv, "a PDF document"},
    Magic{"\xD0\xCF\x11\xE0"sv, "an old Office document"},
    Magic{"PAR1"sv, "a Parquet file"},
    Magic{"ARROW1"sv, "an Arrow file"},
    Magic{"ORC"sv, "an ORC file"},
    Magic{"Obj\x01"sv, "an Avro file"},
    Magic{"\x89HDF\r\n"sv, "an HDF5 file"},
    Magic{"SQLite format 3\0"sv, "an SQLite database"},
    Magic{"GGUF"sv, "a GGUF model"},
    Magic{"\x80\x02"sv, "a Python pickle (as old .pt files are)"},
    Magic{"\x80\x03"sv, "a Python pickle"},
    Magic{"\x80\x04"sv, "a Python pickle"},
    Magic{"\x80\x05"sv, "a Python pickle"},
    Magic{"\x1F\x8B"sv, "gzip data, compressed a second time; decompress it first"},
    Magic{"\x28\xB5\x2F\xFD"sv, "zstd data, compressed a second time; decompress it first"},
    Magic{"BZh"sv, "bzip2 data; decompress it first (bunzip2)"},
    Magic{"\xFD"
          "7zXZ\0"sv,
          "xz data; decompress it first (unxz)"},
    Magic{"\x04\x22\x4D\x18"sv, "lz4 data; decompress it first (unlz4)"},
    Magic{"7z\xBC\xAF"sv, "a 7z archive; unpack it first"},
    Magic{"Rar!\x1A"sv, "a RAR archive; unpack it first"},
    Magic{"ustar"sv, "a tar archive; unpack it first", 257},
    Magic{"II*\0"sv, "a TIFF image"},
    Magic{"MM\0*"sv, "a TIFF image"},
    Magic{"ID3"sv, "an MP3 recording"},
    Magic{"OggS"sv, "an Ogg recording"},
    Magic{"fLaC"sv, "a FLAC recording"},
    Magic{"ftyp"sv, "an MP4 film", 4},
};

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\v' && c != '\x1B';
}

bool is_printable(char c) { return c >= ' ' && c <= '~'; }

// Eight bytes of length before the JSON of a safetensors file. Its header is shorter than 2^40 bytes.
bool is_safetensors(std::string_view head) { return head.size() > 9 && head[8] == '{' && head.substr(5, 3) == "\0\0\0"sv; }

std::optional<std::string> binary_kind(std::string_view head) {
  if (is_safetensors(head)) return "a safetensors file";
  const auto controls = static_cast<size_t>(std::count_if(head.begin(), head.end(), is_control));
  for (const Magic& magic : kMagics) {
    const bool like_text = std::all_of(magic.bytes.begin(), magic.bytes.end(), is_printable);  // a text may begin with "MZ"
    if (head.size() >= magic.at && head.substr(magic.at).starts_with(magic.bytes) && (controls > 0 || !like_text)) return magic.kind;
  }
  if (head.starts_with("%PDF-1.")) return "a PDF document";
  return std::nullopt;
}

// Unknown binary data has control characters in plenty.
bool is_binary(std::string_view head) {
  const auto controls = static_cast<size_t>(std::count_if(head.begin(), head.end(), is_control));
  return controls >= 3 && controls * 10 >= head.size();
}

// Latin text in UTF-16 has a NUL in every second byte.
const char* wide_encoding(std::string_view head) {
  if (head.starts_with("\xFF\xFE\0\0"sv) || head.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
  if (head.starts_with("\xFF\xFE"sv) || head.starts_with("\xFE\xFF"sv)) return "UTF-16";
  size_t nul[2] = {0, 0};
  for (size_t i = 0; i < head.size(); ++i) nul[i % 2] += head[i] == '\0';
  const size_t half = head.size() / 2;
  if (half < 2) return nullptr;
  if (nul[1] * 10 >= half * 7 && nul[0] == 0) return "UTF-16LE";
  if (nul[0] * 10 >= half * 7 && nul[1] == 0) return "UTF-16BE";
  return nullptr;
}

}  // namespace

size_t check_text_head(std::string_view head, const std::string& name) {
  if (const auto kind = binary_kind(head)) fail(name, ": is no text; it looks like ", *kind);
  if (const char* encoding = wide_encoding(head))
    fail(name, ": is ", encoding, "; convert it to UTF-8 first (iconv -f ", encoding, " -t UTF-8)");
  require(!is_binary(head), name, ": is no text; it looks like binary data");
  return head.starts_with("\xEF\xBB\xBF") ? 3 : 0;
}

void check_text(std::string_view text, const std::string& where) {
  if (const size_t at = text.find('\0'); at != std::string_view::npos)
    bad_record(where, ": has a NUL byte (byte ", at, "), which no text has; remove it, or convert the file if it is UTF-16 (iconv)");
  if (const auto at = io::find_invalid_utf8(text))
    bad_record(where, ": is not UTF-8 from byte ", *at, " on (", io::printable(text.substr(*at, 1)),
               "); convert the file (such as iconv -f LATIN1 -t UTF-8)");
}

}  // namespace m2bert::data
