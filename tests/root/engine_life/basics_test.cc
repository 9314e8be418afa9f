// A container's way from create to removal.
#include "engine/container_text.h"
#include "tests/root/engine_life/life_fixture.h"

namespace nacelle::test {
namespace {

using engine::WaitCondition;
using Words = std::vector<std::string>;

TEST_F(EngineLife, a_container_is_created_runs_ends_and_is_removed) {
  const std::string id = create({"sh", "-c", "echo out; echo err >&2; exit 3"}, "web");
  ASSERT_EQ(find("web")->id, id);
  EXPECT_EQ(find("/web")->id, id);
  EXPECT_EQ(find(id.substr(0, 5))->state.phase, Phase::Created);
  EXPECT_EQ(find(id)->path, "sh");
  start(id);
  EXPECT_EQ(wait(id), 3);
  EXPECT_EQ(find(id)->state.phase, Phase::Exited);
  EXPECT_EQ(find(id)->state.exit_code, 3);
  EXPECT_EQ(find(id)->state.pid, 0);
  const std::string log = log_of(id);
  EXPECT_NE(log.find("out\n"), std::string::npos);
  EXPECT_NE(log.find("err\n"), std::string::npos);
  const auto removed = run(engine_->containers->remove("web", false, false, false));
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_EQ(find("web"), nullptr);
  EXPECT_EQ(actions(id), (Words{"create", "start", "die", "destroy"}));
  EXPECT_TRUE(eventually_told([&] { return directories().empty(); }));
}

TEST_F(EngineLife, the_texts_of_what_cannot_be_are_dockers) {
  const std::string id = create({"true"}, "web");
  const auto said = [&](auto task) {
    const auto result = run(std::move(task));
    EXPECT_FALSE(result);
    return result ? std::string() : result.error().message();
  };
  engine::Containers& all = *engine_->containers;
  EXPECT_EQ(
      said(all.create(request({"true"}, "web"))),
      cat("Conflict. The container name \"/web\" is already in use by container \"", id,
          "\". You have to remove (or rename) that container to be able to reuse that name."));
  EXPECT_EQ(said(all.find("nope")), "No such container: nope");
  EXPECT_EQ(said(all.create(request({"true"}, "-"))),
            "Invalid container name (-), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
  EXPECT_EQ(said(all.kill("web", "TERM")),
            cat("cannot kill container: web: container ", id, " is not running"));
  EXPECT_EQ(said(all.pause("web")), cat("container ", id, " is not running"));
  EXPECT_EQ(said(all.unpause("web")), cat("Container ", id, " is not paused"));
  EXPECT_EQ(said(all.exec_create("web", {})), "No exec command specified");
  EXPECT_EQ(said(all.rename("web", "web")),
            "Renaming a container with the same name as its current name");
  CreateRequest missing = request({"true"});
  missing.config.image = "nope";
  EXPECT_NE(said(all.create(missing)).find("No such image: nope"), std::string::npos);
  EXPECT_EQ(all.all().size(), 1u);
  started({"sleep", "1000"}, "up");
  EXPECT_EQ(said(all.remove("up", false, false, false)),
            "cannot remove container \"/up\": container is running: stop the container before "
            "removing or force remove");
}

TEST_F(EngineLife, a_program_that_is_not_there_is_127_and_one_that_is_none_126) {
  for (const auto& [program, code] : {std::pair("nonesuch", 127), std::pair("/etc/notexec", 126),
                                      std::pair("/nope", 127), std::pair("/etc", 126)}) {
    const std::string id = create({program});
    const auto result = run(engine_->containers->start(id));
    ASSERT_FALSE(result) << program;
    EXPECT_EQ(result.error().kind(), Kind::Invalid);
    EXPECT_NE(result.error().message().find("failed to create task for container: "),
              std::string::npos)
        << result.error().message();
    const Container* container = find(id);
    EXPECT_EQ(container->state.exit_code, code) << result.error().message();
    EXPECT_EQ(container->state.phase, Phase::Created);
    EXPECT_FALSE(container->state.error.empty());
  }
  EXPECT_EQ(core_processes(), 0u);
}

TEST_F(EngineLife, output_reaches_who_attached_before_the_start) {
  for (int round = 0; round < 20; ++round) {
    const std::string id = create({"echo", "hello"});
    const Fd client = attach(id);
    start(id);
    EXPECT_EQ(read_all(client), "hello\n");
    EXPECT_EQ(wait(id), 0);
  }
}

// What waits for a line in the logs asks for them since the start, to the millisecond.
TEST_F(EngineLife, logs_since_its_start_are_all_of_a_containers_logs) {
  for (int round = 0; round < 20; ++round) {
    const std::string id = started({"echo", "hello"});
    EXPECT_EQ(wait(id), 0);
    const auto since = engine::parse_time(find(id)->state.started_at);
    ASSERT_TRUE(since) << find(id)->state.started_at;
    EXPECT_EQ(log_of(id, {.since_ns = *since}), "hello\n") << round;
    ASSERT_TRUE(run(engine_->containers->remove(id, false, true, false)));
  }
}

TEST_F(EngineLife, input_reaches_the_program) {
  CreateRequest wants = request({"cat"});
  wants.config.open_stdin = wants.config.stdin_once = true;
  wants.config.attach_stdin = true;
  const std::string id = create_from(wants);
  const Fd client = attach(id, true);
  start(id);
  ASSERT_TRUE(run(ring::write_all(*loop_, client, "over\n")));
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  EXPECT_EQ(read_all(client), "over\n");
  EXPECT_EQ(wait(id), 0);
}

TEST_F(EngineLife, waits_of_all_kinds_end_when_they_should) {
  CreateRequest wants = request({"sh", "-c", "exit 5"});
  wants.host.auto_remove = true;
  const std::string id = create_from(wants);
  auto next = run(engine_->containers->wait(id, WaitCondition::NextExit));
  auto removed = run(engine_->containers->wait(id, WaitCondition::Removed));
  ASSERT_TRUE(next && removed);
  EXPECT_EQ(run((*engine_->containers).wait(id, WaitCondition::NotRunning)).has_value(), true);
  start(id);
  EXPECT_EQ(run((*next)->outcome())->exit_code, 5);
  EXPECT_EQ(run((*removed)->outcome())->exit_code, 5);
  EXPECT_EQ(find(id), nullptr);
  EXPECT_TRUE(eventually_told([&] { return directories().empty() && core_processes() == 0; }));
}

TEST_F(EngineLife, stop_sends_its_signal_and_then_kills) {
  const std::string polite =
      started({"sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"});
  (void)run(ring::sleep_for(*loop_, 100ms));
  auto stopped = run(engine_->containers->stop(polite, std::nullopt, 20));
  ASSERT_TRUE(stopped) << stopped.error().message();
  EXPECT_EQ(find(polite)->state.exit_code, 7);
  EXPECT_EQ(run(engine_->containers->stop(polite, std::nullopt, 1)).value(), engine::Changed::No);
  const std::string deaf = started({"sh", "-c", "trap '' TERM; while :; do sleep 1; done"});
  (void)run(ring::sleep_for(*loop_, 100ms));
  ASSERT_TRUE(run(engine_->containers->pause(deaf)));
  EXPECT_EQ(find(deaf)->state.phase, Phase::Paused);
  ASSERT_TRUE(run(engine_->containers->stop(deaf, std::nullopt, 1)));
  EXPECT_EQ(find(deaf)->state.exit_code, 137);
  EXPECT_EQ(find(deaf)->state.phase, Phase::Exited);
}

TEST_F(EngineLife, exec_gives_output_and_exit_codes) {
  const std::string id = started({"sleep", "1000"});
  int code = -1;
  EXPECT_EQ(exec(id, {.cmd = {"sh", "-c", "echo hi; exit 4"}}, &code).substr(8), "hi\n");
  EXPECT_EQ(code, 4);
  EXPECT_EQ(exec(id, {.env = {"A=b"}, .cmd = {"sh", "-c", "echo $A"}}).substr(8), "b\n");
  EXPECT_EQ(exec(id, {.cmd = {"id", "-u"}, .user = "user"}).substr(8), "1000\n");
  const std::string missing = exec(id, {.cmd = {"nonesuch"}}, &code);
  EXPECT_NE(missing.find("OCI runtime exec failed"), std::string::npos) << missing;
  EXPECT_NE(missing.find("executable file not found in $PATH"), std::string::npos);
  EXPECT_EQ(code, 127);
  EXPECT_TRUE(find(id)->execs.empty());
}

TEST_F(EngineLife, execs_that_nobody_comes_back_for_use_up_no_room) {
  const std::string id = started({"sleep", "1000"});
  const auto made = [&] {
    auto exec = run(engine_->containers->exec_create(id, {.attach_stdout = true, .cmd = {"true"}}));
    EXPECT_TRUE(exec) << exec.error().message();
    return exec ? *exec : std::string();
  };
  const std::string first = made();
  for (int i = 0; i < 5'000; ++i) {
    if (made().empty()) break;
  }
  EXPECT_EQ(engine_->containers->find_exec(first), nullptr);  // the oldest has gone
  EXPECT_LE(find(id)->execs.size(), 4'096u);
  const std::string late = made();
  EXPECT_EQ(exec(id, {.cmd = {"echo", "room"}}).substr(8), "room\n");
  const auto begun = run(engine_->containers->exec_start_detached(late));
  EXPECT_TRUE(begun) << begun.error().message();
}

TEST_F(EngineLife, a_stopped_container_starts_again_with_what_it_wrote) {
  const std::string id = create({"sh", "-c", "echo x >> /count; cat /count"});
  start(id);
  EXPECT_EQ(wait(id), 0);
  start(id);
  EXPECT_EQ(wait(id, WaitCondition::NotRunning), 0);
  EXPECT_EQ(log_of(id), "x\nx\nx\n");
}

TEST_F(EngineLife, a_name_is_free_again_whatever_became_of_its_create) {
  CreateRequest bad = request({"true"}, "web");
  bad.host.binds = {"/nonesuch/../x:relative"};
  EXPECT_FALSE(run(engine_->containers->create(bad)));
  CreateRequest unknown_user = request({"true"}, "web");
  unknown_user.config.user = "nobody-here";
  (void)run(engine_->containers->create(unknown_user));
  for (Container* each : engine_->containers->all()) {
    ASSERT_TRUE(run(engine_->containers->remove(each->id, true, true, false)));
  }
  EXPECT_TRUE(eventually_told([&] { return directories().empty(); }));
  const std::string id = create({"true"}, "web");
  ASSERT_TRUE(run(engine_->containers->rename("web", "other")));
  EXPECT_EQ(find("other")->id, id);
  EXPECT_EQ(find("web"), nullptr);
  create({"true"}, "web");
}

TEST_F(EngineLife, a_restart_policy_starts_it_again_until_it_is_stopped) {
  CreateRequest wants = request({"sh", "-c", "exit 1"});
  wants.host.restart_policy = {"on-failure", 2};
  const std::string id = create_from(wants);
  start(id);
  EXPECT_TRUE(eventually_told(
      [&] { return find(id)->restart_count == 2 && find(id)->state.phase == Phase::Exited; }));
  CreateRequest always = request({"sleep", "0.05"});
  always.host.restart_policy = {"always", 0};
  const std::string again = create_from(always);
  start(again);
  EXPECT_TRUE(eventually_told([&] { return find(again)->restart_count >= 2; }));
  ASSERT_TRUE(run(engine_->containers->stop(again, std::nullopt, 1)));
  EXPECT_EQ(find(again)->state.phase, Phase::Exited);
  const int count = find(again)->restart_count;
  (void)run(ring::sleep_for(*loop_, 500ms));
  EXPECT_EQ(find(again)->restart_count, count);
  EXPECT_EQ(find(again)->state.phase, Phase::Exited);
}

TEST_F(EngineLife, a_health_check_is_asked_and_told) {
  CreateRequest wants = request({"sleep", "1000"});
  wants.config.healthcheck = engine::HealthConfig{
      .test = {"CMD-SHELL", "echo here; test -e /healthy"}, .interval = 50'000'000, .retries = 2};
  const std::string id = create_from(wants);
  start(id);
  ASSERT_TRUE(find(id)->state.health);
  EXPECT_EQ(find(id)->state.health->status, "starting");
  EXPECT_TRUE(eventually_told([&] { return find(id)->state.health->status == "unhealthy"; }));
  EXPECT_EQ(find(id)->state.health->log.back().output, "here\n");
  exec(id, {.cmd = {"touch", "/healthy"}});
  EXPECT_TRUE(eventually_told([&] { return find(id)->state.health->status == "healthy"; }));
  EXPECT_TRUE(contains(actions(id), std::string("health_status: healthy")));
  EXPECT_LE(find(id)->state.health->log.size(), 5u);
}

TEST_F(EngineLife, an_empty_volume_begins_with_what_the_image_has_there) {
  CreateRequest wants = request({"sh", "-c", "cat /data/sub/file; stat -c %a /data/sub/file"});
  wants.host.binds = {"stuff:/data"};
  const std::string id = create_from(wants);
  start(id);
  EXPECT_EQ(wait(id), 0);
  EXPECT_EQ(log_of(id), "content\n640\n");
  EXPECT_EQ(engine_->volumes->holders("stuff"), (Words{id}));
  ASSERT_TRUE(run(engine_->containers->remove(id, false, true, false)));
  EXPECT_TRUE(engine_->volumes->find("stuff")) << "a named volume stays";
  EXPECT_TRUE(engine_->volumes->holders("stuff").empty());
  CreateRequest anonymous = request({"true"});
  anonymous.config.volumes["/data"];
  const std::string other = create_from(anonymous);
  EXPECT_EQ(engine_->volumes->list().size(), 2u);
  ASSERT_TRUE(run(engine_->containers->remove(other, false, true, false)));
  EXPECT_EQ(engine_->volumes->list().size(), 1u);
}

TEST_F(EngineLife, a_volume_that_is_a_file_system_is_mounted_inside) {
  const engine::Labels options = {
      {"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,nr_inodes=99"}};
  ASSERT_TRUE(engine_->volumes->create("memory", "", {}, options, false));
  CreateRequest wants = request({"sh", "-c", "echo x > /data/x; cat /data/x /proc/mounts"});
  wants.host.binds = {"memory:/data"};
  wants.config.user = "1000";
  const std::string id = create_from(wants);
  start(id);
  EXPECT_EQ(wait(id), 0);
  const std::string log = log_of(id);
  EXPECT_TRUE(log.starts_with("x\n")) << log;
  EXPECT_TRUE(log.contains("tmpfs /data tmpfs rw,")) << log;
  EXPECT_TRUE(log.contains("size=1024k,nr_inodes=99")) << log;
  wants.host.binds = {"memory:/data:ro"};
  wants.config.cmd.words = {"touch", "/data/x"};
  const std::string reader = create_from(wants);
  start(reader);
  EXPECT_EQ(wait(reader), 1);
  EXPECT_TRUE(log_of(reader).contains("Read-only file system")) << log_of(reader);
}

TEST_F(EngineLife, a_volume_that_is_a_bind_keeps_its_options) {
  const std::string place = directory_ + "/shared";
  ASSERT_EQ(::mkdir(place.c_str(), 0755), 0);
  const engine::Labels options = {{"type", "none"}, {"device", place}, {"o", "bind,ro"}};
  ASSERT_TRUE(engine_->volumes->create("shared", "", {}, options, false));
  CreateRequest wants = request({"touch", "/s/x"});
  wants.host.binds = {"shared:/s"};
  const std::string id = create_from(wants);
  start(id);
  EXPECT_EQ(wait(id), 1);
  EXPECT_TRUE(log_of(id).contains("Read-only file system")) << log_of(id);
}

TEST_F(EngineLife, an_image_can_be_mounted) {
  const auto image_at = [](std::string image, std::string target) {
    engine::MountRequest mount;
    mount.type = "image";
    mount.source = std::move(image);
    mount.target = std::move(target);
    return mount;
  };
  const std::string made =
      started({"sh", "-c", "echo new > /data/sub/new; busybox rm /data/sub/file"});
  EXPECT_EQ(wait(made), 0);
  image::CommitOptions commit;
  commit.name = oci::parse_reference("two:layers").value();
  commit.base = codec::Digest::parse(find(made)->image_manifest).value();
  const Fd upper = sys::open_at(sys::working_directory, (find(made)->directory + "/upper").c_str(),
                                O_RDONLY | O_DIRECTORY)
                       .value();
  const auto committed = run(engine_->images->commit(upper, std::move(commit)));
  ASSERT_TRUE(committed) << committed.error().message();

  CreateRequest wants =
      request({"sh", "-c", "cat /one/data/sub/file; ls /two/data/sub; touch /two/x"});
  wants.host.mounts = {image_at("busybox", "/one"), image_at("two:layers", "/two")};
  const std::string id = create_from(wants);
  // The image keeps its layers as long as the container is there.
  const auto removed = run(engine_->images->remove("two:layers", false));
  EXPECT_FALSE(removed);
  for (int round = 0; round < 2; ++round) {
    start(id);
    EXPECT_EQ(wait(id), 1);
    EXPECT_TRUE(log_of(id).contains("content\nnew\n")) << log_of(id);
    EXPECT_TRUE(log_of(id).contains("Read-only file system")) << log_of(id);
    close();
    open();
  }
  wants.host.mounts = {image_at("nothing:here", "/one")};
  const auto unknown = run(engine_->containers->create(wants));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind(), Kind::Invalid);
  EXPECT_TRUE(unknown.error().message().contains("nothing:here")) << unknown.error().message();
  engine::MountRequest part = image_at("busybox", "/one");
  part.image_options.emplace().subpath = "data";
  wants.host.mounts = {part};
  const auto refused = run(engine_->containers->create(wants));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), Kind::Unsupported);
}

TEST_F(EngineLife, the_hosts_file_knows_the_host_and_who_is_linked) {
  const auto hosts_of = [&](const std::string& id) {
    return exec(id, {.cmd = {"cat", "/etc/hosts"}});
  };
  const auto on_bridge = [](std::string name) {
    CreateRequest wants = request({"sleep", "1000"}, std::move(name));
    wants.host.network_mode = "bridge";
    return wants;
  };
  CreateRequest wants = on_bridge("web");
  wants.host.extra_hosts = {"outside:host-gateway"};
  wants.host.links = {"nobody:store"};
  const auto refused = run(engine_->containers->create(wants));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(),
            "could not get container for nobody: No such container: nobody");
  EXPECT_EQ(refused.error().kind(), Kind::Invalid);
  CreateRequest linked = on_bridge("base");
  linked.config.hostname = "basehost";
  const std::string base = create_from(linked);
  wants.host.links = {"base:store", "/base:/web/base"};
  const std::string web = create_from(wants);
  const auto too_early = run(engine_->containers->start(web));
  ASSERT_FALSE(too_early);
  EXPECT_EQ(too_early.error().message(),
            "Cannot link to a non running container: /base AS /web/store");
  start(base);
  start(web);
  const auto address = [&] { return find(base)->endpoints.at("bridge").ip_address; };
  const std::string gateway = find(web)->endpoints.at("bridge").gateway;
  const std::string hosts = hosts_of(web);
  EXPECT_TRUE(hosts.contains(cat(gateway, "\toutside\n"))) << hosts;
  EXPECT_TRUE(hosts.contains(cat(address(), "\tstore basehost base\n"))) << hosts;
  EXPECT_TRUE(hosts.contains(cat(address(), "\tbase basehost\n"))) << hosts;
  // Another engine knows it still: an address that changes is told.
  close();
  open();
  const std::string before = address();
  ASSERT_TRUE(run(engine_->containers->stop(base, "KILL", 1)));
  EXPECT_TRUE(eventually_told([&] { return core_processes() == 1; }));
  CreateRequest other = on_bridge("other");  // takes its address
  other.config.mac_address = "02:42:00:00:00:01";
  start(create_from(other));
  start(base);
  ASSERT_NE(address(), before);
  EXPECT_TRUE(hosts_of(web).contains(cat(address(), "\tstore basehost base\n"))) << hosts_of(web);
}

TEST_F(EngineLife, an_internal_network_has_no_way_out) {
  engine::NetworkCreateRequest wanted;
  wanted.network.name = "inner";
  wanted.network.internal = true;
  wanted.network.pools.push_back({.subnet = "10.66.2.0/24"});
  ASSERT_TRUE(engine_->networks->create(wanted));
  CreateRequest first = request({"sleep", "1000"}, "first");
  first.host.network_mode = "inner";
  CreateRequest second = first;
  second.name = "second";
  const std::string one = create_from(std::move(first)), two = create_from(std::move(second));
  start(one);
  start(two);
  const std::string other = find(two)->endpoints.at("inner").ip_address;
  EXPECT_EQ(other, "10.66.2.3");
  EXPECT_EQ(find(two)->endpoints.at("inner").gateway, "");
  int code = -1;
  EXPECT_TRUE(exec(one, {.cmd = {"busybox", "ping", "-c", "1", "-W", "5", other}}, &code)
                  .contains("1 packets received"));
  EXPECT_EQ(code, 0);
  EXPECT_TRUE(exec(one, {.cmd = {"busybox", "ping", "-c", "1", "198.51.100.1"}}, &code)
                  .contains("Network is unreachable"));
  EXPECT_NE(code, 0);
}

TEST_F(EngineLife, top_shows_the_processes) {
  const std::string id = started({"sh", "-c", "sleep 998 & exec sleep 999"});
  EXPECT_TRUE(eventually_told([&] {
    const auto top = run(engine_->containers->top(id, ""));
    return top && top->processes.size() == 2 && top->processes[0].back() == "sleep 999";
  }));
  const auto top = run(engine_->containers->top(id, "-o pid,args"));
  ASSERT_TRUE(top) << top.error().message();
  EXPECT_EQ(top->titles, (Words{"PID", "COMMAND"}));
  EXPECT_EQ(top->processes[0][0], cat(find(id)->state.pid));
}

TEST_F(EngineLife, what_a_client_asked_for_is_done_when_the_client_has_gone) {
  const std::string id = create({"sleep", "1000"});
  ring::Scope clients(*loop_, [](const Error&) {});
  struct Ask {
    static ring::Task<> start(engine::Containers* all, std::string id) {
      (void)co_await all->start(std::move(id));
    }
    static ring::Task<> leave(ring::Loop* loop, ring::Scope* scope) {
      co_await ring::sleep_for(*loop, 100us);
      scope->cancel();
      co_await scope->join();
    }
  };
  clients.start(Ask::start(engine_->containers.get(), id));
  ASSERT_TRUE(run(Ask::leave(loop_.get(), &clients)));
  EXPECT_TRUE(eventually_told([&] { return find(id)->state.phase == Phase::Running; }));
}

TEST_F(EngineLife, prune_takes_what_is_stopped) {
  const std::string up = started({"sleep", "1000"});
  const std::string done = started({"true"});
  EXPECT_EQ(wait(done), 0);
  const std::string made = create({"true"});
  const auto pruned = run(engine_->containers->prune({}));
  ASSERT_TRUE(pruned) << pruned.error().message();
  EXPECT_EQ(pruned->ids.size(), 2u);
  EXPECT_NE(find(up), nullptr);
  EXPECT_EQ(find(done), nullptr);
  EXPECT_EQ(find(made), nullptr);
}

}  // namespace
}  // namespace nacelle::test
