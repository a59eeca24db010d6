# The formula for a tap of one's own. .github/workflows/release.yml fills in the words between @, and attaches it to the release.
class M2bert < Formula
  desc "Monarch Mixer BERT: text embeddings, training and serving on MLX"
  homepage "https://github.com/@REPOSITORY@"
  url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/m2bert-@VERSION@.tar.gz"
  sha256 "@SHA256@"
  license "Apache-2.0"
  head "https://github.com/@REPOSITORY@.git", branch: "main"

  depends_on "boost" => :build
  depends_on "cli11" => :build
  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "nlohmann-json" => :build
  depends_on "pkgconf" => :build
  depends_on arch: :arm64
  depends_on macos: :sonoma
  depends_on "brotli"
  # MLX's C++ interface changes with each of its releases: a new one needs a new `revision` here.
  depends_on "mlx"
  depends_on "openssl@3"
  depends_on "snappy"
  depends_on "spdlog"
  depends_on "xxhash"
  depends_on "yaml-cpp"
  depends_on "zstd"

  uses_from_macos "bzip2"
  uses_from_macos "curl"
  uses_from_macos "zlib"

  def install
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DM2BERT_TESTS=OFF", "-DMLX_ROOT=#{Formula["mlx"].opt_prefix}",
                    *std_cmake_args
    system "cmake", "--build", "build", "--target", "product"
    system "cmake", "--install", "build"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/m2bert --version")
    assert_match "monarch", shell_output("#{bin}/m2bert tokenize --text 'Monarch Mixer'")
  end
end
