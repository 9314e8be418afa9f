#include "tests/unit/image_jobs/load_image.h"

namespace nacelle::image {
namespace {

using Entry = ArchiveRequest::Entry;

// A content directory with the parts of an image.
struct Content {
  Directory root;
  SmallImage image;
  Content() {
    test::run({"mkdir", "-p", cat(root.path(), "/blobs/sha256")});
    for (const std::string& bytes :
         {image.layers[0], image.layers[1], image.config, image.manifest}) {
      CHECK(test::write_file(cat(root.path(), "/blobs/sha256/", hex_of(bytes)), bytes));
    }
  }
  ArchiveRequest request() const {
    ArchiveRequest request;
    request.entries.push_back({.name = "blobs/", .text = {}, .blob = {}});
    request.entries.push_back({.name = "blobs/sha256/", .text = {}, .blob = {}});
    for (const std::string& bytes :
         {image.layers[0], image.layers[1], image.config, image.manifest}) {
      const auto digest = codec::digest_of(bytes);
      request.entries.push_back({cat("blobs/sha256/", digest.hex()), "", digest});
    }
    request.entries.push_back(
        {"index.json", index_of(image.descriptor(named("docker.io/library/a:1"))), {}});
    request.entries.push_back({"oci-layout", std::string(oci_layout), {}});
    return request;
  }
};

TEST(Archive, writes_what_load_takes) {
  const Content content;
  TestAsker asker;
  const Fd output = memory_file();
  const auto reply = archive(content.request(), content.root.fd(), output, asker);
  ASSERT_TRUE(reply) << complaint(reply);
  const std::string bytes = content_of(output);
  EXPECT_EQ(reply->archive_bytes, bytes.size());
  Directory root;
  const Fd input = memory_file(bytes);
  const auto loaded = load({}, root.fd(), input, asker);
  ASSERT_TRUE(loaded) << complaint(loaded);
  EXPECT_EQ(root.names(), content.image.kept());
}

TEST(Archive, is_the_same_each_time_and_into_a_pipe_or_a_file) {
  const Content content;
  TestAsker asker;
  const std::string path = cat(content.root.path(), "/out.tar");
  const Fd file = *sys::open_at(sys::working_directory, path.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(archive(content.request(), content.root.fd(), file, asker));
  const std::string first = content_of(file);

  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd reading(ends[0]), writing(ends[1]);
  std::string piped;
  std::thread reader([&] { piped = *sys::read_all(reading, 1u << 30, "pipe"); });
  const auto reply = archive(content.request(), content.root.fd(), writing, asker);
  writing = Fd();
  reader.join();
  ASSERT_TRUE(reply) << complaint(reply);
  EXPECT_TRUE(piped == first);
}

TEST(Archive, says_the_same_times_and_modes_of_everything) {
  const Content content;
  TestAsker asker;
  const Fd output = memory_file();
  ASSERT_TRUE(archive(content.request(), content.root.fd(), output, asker));
  const auto listing =
      test::run({"tar", "--full-time", "--utc", "-tvf", "-"}, {.input = content_of(output)});
  ASSERT_TRUE(listing.ok()) << listing.text();
  std::string_view rest = listing.out;
  int lines = 0;
  while (!rest.empty()) {
    const std::string_view line = take_until(rest, '\n');
    EXPECT_TRUE(line.starts_with("drwxr-xr-x 0/0") || line.starts_with("-rw-r--r-- 0/0")) << line;
    EXPECT_NE(line.find(" 1970-01-01 00:00:00 "), std::string_view::npos) << line;
    ++lines;
  }
  EXPECT_EQ(lines, 8);
}

TEST(Archive, refuses_blobs_that_are_not_there_or_no_files) {
  const Content content;
  TestAsker asker;
  const auto refusal = [&](std::string_view bytes) {
    const Fd output = memory_file();
    ArchiveRequest request;
    request.entries.push_back({"layer.tar", "", codec::digest_of(bytes)});
    return complaint(archive(request, content.root.fd(), output, asker));
  };
  EXPECT_NE(refusal("missing").find("layer.tar: open 'blobs/sha256/"), std::string::npos);
  const auto path = [&](std::string_view bytes) {
    return cat(content.root.path(), "/blobs/sha256/", hex_of(bytes));
  };
  ASSERT_EQ(::symlink("/etc/passwd", path("link").c_str()), 0);
  EXPECT_NE(refusal("link").find("Too many levels of symbolic links"), std::string::npos);
  ASSERT_EQ(::mkdir(path("directory").c_str(), 0755), 0);
  EXPECT_NE(refusal("directory").find("not a plain file"), std::string::npos);
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0644), 0);
  EXPECT_NE(refusal("fifo").find("not a plain file"), std::string::npos);
}

}  // namespace
}  // namespace nacelle::image
