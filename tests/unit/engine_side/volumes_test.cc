#include "engine/volumes.h"

#include "side_fixture.h"

namespace nacelle::test {
namespace {

using engine::Labels;
using engine::Volume;
using engine::Volumes;

class VolumesTest : public SideTest {
 protected:
  void SetUp() override {
    SideTest::SetUp();
    reopen();
  }
  void reopen() {
    volumes_ = nullptr;
    auto opened = Volumes::open(*loop_, root_, *events_);
    ASSERT_TRUE(opened) << opened.error().message();
    volumes_ = *std::move(opened);
  }
  Volume make(std::string name, Labels labels = {}, Labels options = {}) {
    auto made = volumes_->create(std::move(name), "", std::move(labels), std::move(options), false);
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(Volume());
  }
  std::string why_not(std::string name, Labels options = {}, std::string driver = {}) {
    return failure(
        volumes_->create(std::move(name), std::move(driver), {}, std::move(options), false));
  }
  std::string names() {
    std::string text;
    for (const Volume& each : volumes_->list()) text += cat(each.name, ' ');
    return text;
  }

  std::unique_ptr<Volumes> volumes_;
};

TEST_F(VolumesTest, AVolumeIsADirectoryAndARecord) {
  const Volume made = make("data", {{"a", "b"}});
  EXPECT_EQ(made.mountpoint, cat(root_, "/volumes/data/_data"));
  EXPECT_EQ(made.driver, "local");
  EXPECT_EQ(made.created_at.size(), 20u) << made.created_at;
  EXPECT_TRUE(exists("volumes/data/_data"));
  EXPECT_EQ(volumes_->source_of("data").value_or(""), made.mountpoint);
  reopen();
  const Volume found = volumes_->find("data").value();
  EXPECT_EQ(found.labels, (Labels{{"a", "b"}}));
  EXPECT_EQ(found.created_at, made.created_at);
  EXPECT_EQ(found.mountpoint, made.mountpoint);
}

TEST_F(VolumesTest, TheSameNameIsTheSameVolume) {
  make("data", {{"a", "b"}});
  EXPECT_EQ(make("data", {{"c", "d"}}).labels, (Labels{{"a", "b"}}));
  EXPECT_EQ(told(), "volume create");
}

TEST_F(VolumesTest, AnAnonymousOneIsMarked) {
  const Volume made = make("");
  EXPECT_EQ(made.name.size(), 64u);
  EXPECT_TRUE(made.anonymous);
  EXPECT_TRUE(made.labels.contains("com.docker.volume.anonymous"));
  reopen();
  EXPECT_TRUE(volumes_->find(made.name)->anonymous);
}

TEST_F(VolumesTest, NamesThatCouldLeadElsewhereAreRefused) {
  for (const char* name : {"..", ".hidden", "a/b", "/abs", "a b", "-x", "_x", "a\n",
                           "\xc3\xa9\xc3\xa9", ".trash-x", "../../etc"}) {
    EXPECT_TRUE(why_not(name).starts_with(cat("invalid: create ", name, ": "))) << name;
  }
  EXPECT_EQ(why_not("a"),
            "invalid: create a: volume name is too short, names should be at least two "
            "alphanumeric characters");
  EXPECT_TRUE(why_not("a/b").contains("only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"));
  EXPECT_TRUE(why_not(std::string(300, 'a')).starts_with("invalid: "));
  EXPECT_EQ(names(), "");
}

TEST_F(VolumesTest, OptionsAreCheckedInDockersWords) {
  EXPECT_EQ(why_not("data", {{"foo", "x"}}), "invalid: create data: invalid option: \"foo\"");
  EXPECT_EQ(why_not("data", {{"type", "tmpfs"}}),
            "invalid: create data: missing required option: \"device\"");
  EXPECT_EQ(why_not("data", {{"device", "tmpfs"}}),
            "invalid: create data: missing required option: \"type\"");
  EXPECT_EQ(why_not("data", {{"o", "ro"}, {"device", "x"}}),
            "invalid: create data: missing required option: \"type\"");
  EXPECT_EQ(why_not("data", {{"size", "1g"}}),
            "invalid: create data: quota size requested but no quota support");
  EXPECT_EQ(why_not("data", {}, "rexray"),
            "not found: create data: error looking up volume plugin rexray: plugin \"rexray\" not "
            "found");
  EXPECT_EQ(names(), "");
}

TEST_F(VolumesTest, OptionsSayWhatIsMounted) {
  make("memory", {}, {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,,uid=1000"}});
  const auto memory = volumes_->mount_of("memory").value();
  EXPECT_EQ(memory.type, "tmpfs");
  EXPECT_EQ(memory.options, (std::vector<std::string>{"size=1m", "uid=1000"}));
  EXPECT_TRUE(failure(volumes_->source_of("memory")).starts_with("unsupported: "));
  EXPECT_EQ(run(volumes_->size("memory")).value_or(1), 0u);

  make("bound", {}, {{"type", "none"}, {"device", "/srv/x"}, {"o", "bind,ro"}});
  EXPECT_EQ(volumes_->mount_of("bound")->type, "bind");
  EXPECT_EQ(volumes_->source_of("bound").value_or(""), "/srv/x");
  make("relative", {}, {{"type", "none"}, {"device", "srv/x"}, {"o", "bind"}});
  EXPECT_TRUE(failure(volumes_->mount_of("relative")).contains("not an absolute path"));
  make("empty", {}, {{"type", "none"}, {"device", ""}, {"o", "bind"}});
  EXPECT_EQ(failure(volumes_->mount_of("empty")), "invalid: missing device in volume options");
}

TEST_F(VolumesTest, ADamagedRecordLosesNoDataAndStartsNothing) {
  make("data");
  make("other");
  write("volumes/data/_data/file", "precious");
  write("volumes/data/record", R"({"Name":"da)");
  write("volumes/other/record", R"({"Name":"data"})");
  reopen();
  EXPECT_EQ(names(), "data other ");
  EXPECT_TRUE(exists("volumes/data/_data/file"));
  EXPECT_TRUE(failure(volumes_->mount_of("data")).contains("its record is damaged"));
  EXPECT_TRUE(failure(volumes_->source_of("other")).contains("its record is damaged"));
  EXPECT_TRUE(run(volumes_->remove("data", false)));
  EXPECT_EQ(names(), "other ");
}

TEST_F(VolumesTest, WhatIsInUseStays) {
  make("data");
  volumes_->hold("data", "c1");
  volumes_->hold("data", "c2");
  volumes_->hold("data", "c2");
  EXPECT_EQ(failure(run(volumes_->remove("data", true))),
            "conflict: remove data: volume is in use - [c1, c2]");
  volumes_->let_go("data", "c2");
  EXPECT_EQ(volumes_->holders("data"), std::vector<std::string>{"c1"});
  volumes_->let_go("data", "c1");
  volumes_->let_go("data", "c1");
  EXPECT_TRUE(run(volumes_->remove("data", false)));
  EXPECT_FALSE(exists("volumes/data"));
  EXPECT_EQ(told(), "volume create\nvolume destroy");
}

TEST_F(VolumesTest, WhatIsNotThereIsNotRemoved) {
  EXPECT_EQ(failure(run(volumes_->remove("data", false))), "not found: get data: no such volume");
  EXPECT_TRUE(run(volumes_->remove("data", true)));
  EXPECT_EQ(failure(volumes_->find("data")), "not found: get data: no such volume");
  EXPECT_EQ(failure(run(volumes_->size("data"))), "not found: get data: no such volume");
}

TEST_F(VolumesTest, WhatAKilledEngineLeftIsNoVolumeAndGoes) {
  ASSERT_TRUE(
      sys::make_directory_at(sys::working_directory, cat(root_, "/volumes/.new-1").c_str(), 0700));
  ASSERT_TRUE(sys::make_directory_at(sys::working_directory,
                                     cat(root_, "/volumes/.trash-1").c_str(), 0700));
  write("volumes/.trash-1/file", "x");
  reopen();
  EXPECT_EQ(names(), "");
  EXPECT_TRUE(run(volumes_->remove_leftovers()));
  EXPECT_FALSE(exists("volumes/.new-1"));
  EXPECT_FALSE(exists("volumes/.trash-1"));
}

}  // namespace
}  // namespace nacelle::test
