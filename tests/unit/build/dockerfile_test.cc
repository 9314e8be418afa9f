// The Dockerfile language: what its reference says, instruction by instruction. Method: small
// files, one behaviour each.
#include "build/dockerfile.h"

#include "tests/unit/build/parse.h"

namespace nacelle::build {
namespace {

using Words = std::vector<std::string>;

TEST(Dockerfile, has_stages_of_instructions) {
  const Dockerfile file = parsed(
      "# a comment\n\nFROM golang:1.22 AS Builder\nRUN make\n\nFROM --platform=linux/arm64 "
      "scratch\n"
      "COPY --from=builder /a /b\n");
  ASSERT_EQ(file.stages.size(), 2u);
  EXPECT_EQ(file.stages[0].from, (From{.base = "golang:1.22", .name = "builder", .platform = ""}));
  EXPECT_EQ(file.stages[1].from, (From{.base = "scratch", .name = "", .platform = "linux/arm64"}));
  ASSERT_EQ(file.stages[0].instructions.size(), 1u);
  EXPECT_EQ(file.stages[0].instructions[0].keyword(), "RUN");
  EXPECT_EQ(file.stages[0].instructions[0].source, (Source{4, 4, "RUN make"}));
  EXPECT_EQ(file.stages[1].source.first_line, 6u);
  EXPECT_EQ(file.name, "Dockerfile");
  EXPECT_EQ(file.lines.size(), 7u);
}

TEST(Dockerfile, keywords_are_written_in_any_case) {
  const Dockerfile file = parsed("from a as B\nrun x\nCoPy a b\n");
  EXPECT_EQ(file.stages[0].from.name, "b");
  EXPECT_EQ(file.stages[0].instructions[0].keyword(), "RUN");
  EXPECT_EQ(file.stages[0].instructions[1].keyword(), "COPY");
}

TEST(Dockerfile, arguments_before_the_first_stage_are_global) {
  const Dockerfile file = parsed("ARG A=1 B\nARG C=$A\nFROM x:$A\nARG A\n");
  ASSERT_EQ(file.global_args.size(), 2u);
  EXPECT_EQ(file.global_args[0].arg.arguments[0], (Arg::Argument{"A", "1"}));
  EXPECT_EQ(file.global_args[0].arg.arguments[1], (Arg::Argument{"B", std::nullopt}));
  EXPECT_EQ(file.global_args[1].source.first_line, 2u);
  EXPECT_EQ(file.stages[0].instructions.size(), 1u);
}

TEST(Lines, a_backslash_at_the_end_continues) {
  EXPECT_EQ(instruction<RunStep>("RUN a \\\n  b\\  \t\n&& c").command.words, Words{"a   b&& c"});
}

TEST(Lines, comments_and_empty_lines_inside_of_continuations_are_left_out) {
  const Dockerfile file = parsed("FROM a\nRUN a \\\n# one\n  # two \\\n\n b\nUSER c\n");
  EXPECT_EQ(std::get<RunStep>(file.stages[0].instructions[0].what).command.words, Words{"a  b"});
  EXPECT_EQ(file.stages[0].instructions[0].source, (Source{2, 6, "RUN a  b"}));
  ASSERT_EQ(file.warnings.size(), 1u);
  EXPECT_EQ(file.warnings[0], (Warning{2, "empty continuation line"}));
}

TEST(Lines, a_hash_that_does_not_begin_a_line_is_no_comment) {
  EXPECT_EQ(instruction<RunStep>("RUN echo # x").command.words, Words{"echo # x"});
}

TEST(Lines, an_escaped_backslash_does_not_continue) {
  const Dockerfile file = parsed("FROM a\nRUN a \\\\\nUSER c\n");
  EXPECT_EQ(file.stages[0].instructions.size(), 2u);
}

TEST(Lines, what_is_continued_at_the_end_of_the_file_ends_there) {
  EXPECT_EQ(instruction<RunStep>("RUN a \\").command.words, Words{"a"});
}

TEST(Lines, end_in_a_carriage_return_or_without_anything) {
  const Dockerfile file = parsed(
      "\xEF\xBB\xBF"
      "FROM a\r\nRUN b \\\r\n c\r\nUSER d");
  EXPECT_EQ(file.stages[0].from.base, "a");
  EXPECT_EQ(std::get<RunStep>(file.stages[0].instructions[0].what).command.words, Words{"b  c"});
  EXPECT_EQ(std::get<User>(file.stages[0].instructions[1].what).user, "d");
}

TEST(Directives, stand_before_everything_else) {
  const Dockerfile file = parsed(
      "# syntax = docker/dockerfile:1\n#Escape=`\n# check=skip=all\nFROM a\nRUN b `\n c\\\n");
  EXPECT_EQ(file.directives, (Directives{"docker/dockerfile:1", "skip=all", '`'}));
  EXPECT_EQ(std::get<RunStep>(file.stages[0].instructions[0].what).command.words, Words{"b  c\\"});
}

TEST(Directives, are_comments_behind_a_comment_an_empty_line_or_an_unknown_one) {
  for (const char* before : {"# about\n", "\n", "# unknown=1\n", "FROM z\n", "#\n"}) {
    const Dockerfile file = parsed(cat(before, "# escape=`\nFROM a\n"));
    EXPECT_EQ(file.directives.escape, '\\') << before;
  }
}

TEST(Directives, are_refused_twice_or_with_a_wrong_escape) {
  EXPECT_EQ(complaint("# escape=`\n# escape=`\nFROM a\n"),
            "Dockerfile:2:1: only one escape parser directive can be used");
  EXPECT_EQ(complaint("# syntax=a\n# SYNTAX=b\nFROM a\n"),
            "Dockerfile:2:1: only one syntax parser directive can be used");
  EXPECT_EQ(complaint("# escape=x\nFROM a\n"),
            "Dockerfile:1:1: invalid escape 'x': must be ` or \\");
}

TEST(Commands, are_for_the_shell_or_json) {
  EXPECT_EQ(instruction<RunStep>("RUN echo \"a  b\"").command, (Command{{"echo \"a  b\""}, true}));
  EXPECT_EQ(instruction<Cmd>("CMD [\"a\", \"b c\\u0041\"]").command,
            (Command{{"a", "b cA"}, false}));
  EXPECT_EQ(instruction<Entrypoint>("ENTRYPOINT  [ ]").command, (Command{{}, false}));
  EXPECT_EQ(instruction<Shell>("SHELL [\"bash\",\"-c\"]").words, (Words{"bash", "-c"}));
}

TEST(Commands, that_are_nearly_json_are_for_the_shell) {
  for (const char* text : {"['a', 'b']", "[\"a\", \"b\"", "[\"a\",]", "[\"a\"] x", "[ -f x ]"}) {
    const Dockerfile file = parsed(cat("FROM a\nCMD ", text, "\n"));
    EXPECT_EQ(std::get<Cmd>(file.stages[0].instructions[0].what).command, (Command{{text}, true}));
    EXPECT_EQ(file.warnings.size(), 1u);
  }
}

TEST(Commands, have_arguments_by_their_shell) {
  const Command line{{"a b"}, true};
  EXPECT_EQ(line.arguments({}), (Words{"/bin/sh", "-c", "a b"}));
  EXPECT_EQ(line.arguments({"bash", "-ec"}), (Words{"bash", "-ec", "a b"}));
  EXPECT_EQ((Command{{"a", "b"}, false}).arguments({"bash"}), (Words{"a", "b"}));
}

TEST(Run, knows_its_flags) {
  const RunStep run = instruction<RunStep>(
      "RUN --mount=type=cache,target=/c,sharing=locked,id=x,uid=1 --network=none "
      "--security=insecure --mount=from=b,source=/s,target=/t,rw  make --all");
  EXPECT_EQ(run.command.words, Words{"make --all"});
  EXPECT_EQ(run.network, RunNetwork::None);
  EXPECT_TRUE(run.insecure);
  ASSERT_EQ(run.mounts.size(), 2u);
  EXPECT_EQ(run.mounts[0].type, MountType::Cache);
  EXPECT_EQ(run.mounts[0].sharing, Sharing::Locked);
  EXPECT_EQ(run.mounts[0].uid, 1u);
  EXPECT_FALSE(run.mounts[0].read_only);
  EXPECT_EQ(run.mounts[1].from, "b");
  EXPECT_FALSE(run.mounts[1].read_only);
  EXPECT_TRUE(run.mounts[1].complete);
}

TEST(Run, two_dashes_end_the_flags) {
  EXPECT_EQ(instruction<RunStep>("RUN -- --mount=x").command.words, Words{"--mount=x"});
  EXPECT_EQ(instruction<Cmd>("CMD -x").command.words, Words{"-x"});
}

TEST(Run, a_mount_with_variables_is_complete_once_they_are_replaced) {
  const RunStep run = instruction<RunStep>("RUN --mount=from=b,target=$DIR,uid=${UID} make");
  ASSERT_EQ(run.mounts.size(), 1u);
  EXPECT_FALSE(run.mounts[0].complete);
  EXPECT_EQ(run.mounts[0].from, "b");
}

TEST(Mounts, have_the_options_of_the_reference) {
  const auto secret = parse_mount("type=secret,id=aws,env=KEY,required,mode=0440,uid=5,gid=6");
  ASSERT_TRUE(secret);
  EXPECT_EQ(secret->environment, "KEY");
  EXPECT_TRUE(secret->required);
  EXPECT_EQ(secret->mode, 0440u);
  EXPECT_TRUE(secret->read_only);
  const auto tmpfs = parse_mount("type=tmpfs,dst=/t,size=64m");
  ASSERT_TRUE(tmpfs);
  EXPECT_EQ(tmpfs->size, 64 << 20);
  EXPECT_FALSE(tmpfs->read_only);
  const auto ssh = parse_mount("type=SSH");
  ASSERT_TRUE(ssh);
  EXPECT_EQ(ssh->type, MountType::Ssh);
  EXPECT_FALSE(parse_mount("type=ssh,source=x"));
  const auto bind = parse_mount("\"target=/a,b\",ro=false");
  ASSERT_TRUE(bind);
  EXPECT_EQ(bind->target, "/a,b");
  EXPECT_FALSE(bind->read_only);
}

TEST(Mounts, complain) {
  struct Case {
    const char* mount;
    const char* complaint;
  };
  const Case cases[] = {
      {"type=nfs,target=/x", "unsupported mount type 'nfs'"},
      {"target", "invalid field 'target': must be key=value"},
      {"foo=1,target=/x", "unexpected key 'foo'"},
      {"from=$x,target=/x",
       "'from' doesn't support variable expansion, define alias stage instead"},
      {"target=/x,uid=1", "uid not allowed for 'bind' mounts"},
      {"type=tmpfs,target=/x,mode=1", "mode not allowed for 'tmpfs' mounts"},
      {"type=cache,target=/x,uid=-1", "invalid value '-1' for uid"},
      {"type=cache,target=/x,mode=9", "invalid value '9' for mode"},
      {"type=cache,target=/x,sharing=some", "unsupported sharing value 'some'"},
      {"target=/x,sharing=locked", "sharing not allowed for 'bind' mounts"},
      {"target=/x,size=1", "unexpected key 'size' for mount type 'bind'"},
      {"target=/x,required", "unexpected key 'required' for mount type 'bind'"},
      {"target=/x,env=A", "unexpected key 'env' for mount type 'bind'"},
      {"target=/x,ro=maybe", "invalid value for ro: 'maybe'"},
      {"type=tmpfs,target=/x,size=much", "invalid value for size: 'much'"},
      {"type=secret", "invalid secret mount: one of id, source, target required"},
      {"type=secret,id=a,source=b", "both source and id can't be set"},
      {"type=secret,id=a,from=b", "secret mount should not have a from"},
      {"\"target=/x", "a quote that is not closed"},
      {"\"target=/x\"y", "text behind a closing quote"},
      {"target=\"/x\"", "a quote in the middle of a field"},
      {"", "invalid field '': must be key=value"},
  };
  for (const Case& c : cases) {
    const auto mount = parse_mount(c.mount);
    ASSERT_FALSE(mount) << c.mount;
    EXPECT_EQ(mount.error().message(), c.complaint) << c.mount;
  }
}

TEST(Heredocs, are_read_to_their_end) {
  const Dockerfile file = parsed("FROM a\nRUN <<EOF\necho 1\n# no comment \\\nEOF\nUSER b\n");
  const RunStep& run = std::get<RunStep>(file.stages[0].instructions[0].what);
  ASSERT_EQ(run.heredocs.size(), 1u);
  EXPECT_EQ(run.heredocs[0].content, "echo 1\n# no comment \\\n");
  EXPECT_TRUE(run.heredocs[0].expand);
  EXPECT_EQ(file.stages[0].instructions[0].source, (Source{2, 5, "RUN <<EOF"}));
  EXPECT_EQ(run_form(run).command, (Command{{"echo 1\n# no comment \\\n"}, true}));
  EXPECT_EQ(file.stages[0].instructions[1].keyword(), "USER");
}

TEST(Heredocs, quotes_dashes_and_descriptors_say_what_they_are) {
  const RunStep run = instruction<RunStep>("RUN cat <<-\"A\" 3<<'B' <<C\n\ta\n\tA\nb\nB\nc\nC");
  ASSERT_EQ(run.heredocs.size(), 3u);
  EXPECT_EQ(run.heredocs[0], (Heredoc{"A", "\ta\n", false, true, 0}));
  EXPECT_EQ(run.heredocs[0].text(), "a\n");
  EXPECT_EQ(run.heredocs[1], (Heredoc{"B", "b\n", false, false, 3}));
  EXPECT_EQ(run.heredocs[2], (Heredoc{"C", "c\n", true, false, 0}));
  EXPECT_EQ(run_form(run).command.words[0], "cat <<-\"A\" 3<<'B' <<C\n\ta\nA\nb\nB\nc\nC");
}

TEST(Heredocs, with_an_interpreter_are_scripts) {
  const RunForm form =
      run_form(instruction<RunStep>("RUN <<-EOF\n\t#!/usr/bin/python3\n\tprint()\nEOF"));
  EXPECT_EQ(form.script, "");  // the tab comes before the #!
  const RunForm script =
      run_form(instruction<RunStep>("RUN <<EOF\n#!/usr/bin/python3\nprint()\nEOF"));
  EXPECT_EQ(script.script, "#!/usr/bin/python3\nprint()\n");
  EXPECT_EQ(script.script_path, "/dev/pipes/EOF");
  EXPECT_EQ(script.command, (Command{{"/dev/pipes/EOF"}, true}));
}

TEST(Heredocs, are_files_of_copy_and_add) {
  const Copy copy = instruction<Copy>("COPY a <<x.txt <<-'y' /d/\n$v\nx.txt\n\tb\ny");
  EXPECT_EQ(copy.sources, Words{"a"});
  ASSERT_EQ(copy.files.size(), 2u);
  EXPECT_EQ(copy.files[0], (Heredoc{"x.txt", "$v\n", true, false, 0}));
  EXPECT_EQ(copy.files[1].text(), "b\n");
  EXPECT_FALSE(copy.files[1].expand);
  EXPECT_EQ(copy.destination, "/d/");
  EXPECT_EQ(instruction<Add>("ADD <<f /d\nf").files[0].content, "");
}

TEST(Heredocs, may_have_a_space_before_their_name) {
  const RunStep run = instruction<RunStep>("RUN cat << EOF > x <<- 'B C'\na\nEOF\n\tb\n\tB C");
  ASSERT_EQ(run.heredocs.size(), 2u);
  EXPECT_EQ(run.heredocs[0], (Heredoc{"EOF", "a\n", true, false, 0}));
  EXPECT_EQ(run.heredocs[1], (Heredoc{"B C", "\tb\n", false, true, 0}));
  EXPECT_EQ(run_form(instruction<RunStep>("RUN << EOF\na\nEOF")).command.words, Words{"a\n"});
}

TEST(Heredocs, stand_in_triggers) {
  const OnBuild trigger = instruction<OnBuild>("ONBUILD RUN <<EOF\nhi\nEOF");
  EXPECT_EQ(trigger.trigger, "RUN <<EOF\nhi\nEOF");
  const auto again = parse_trigger(trigger.trigger, "trigger");
  ASSERT_TRUE(again);
  EXPECT_EQ(std::get<RunStep>(again->what).heredocs[0].content, "hi\n");
}

TEST(Heredocs, are_none_where_they_are_not_allowed_or_only_look_like_it) {
  for (const char* text : {"ENV a=<<EOF", "CMD cat <<EOF", "RUN [\"cat\", \"<<EOF\"]", "RUN a << b",
                           "RUN a $(( 1 << x ))", "RUN cat <<<EOF", "RUN echo $((1<<2))",
                           "RUN echo it's <<EOF", "RUN echo \"<<EOF\"", "RUN x<<EOF"}) {
    const Dockerfile file = parsed(cat("FROM a\n", text, "\nUSER b\n"));
    EXPECT_EQ(file.stages[0].instructions.size(), 2u) << text;
  }
}

TEST(Heredocs, complain) {
  EXPECT_EQ(complaint_of("RUN <<EOF\nhi\nEOF2"), "2:1: unterminated heredoc: no line says EOF");
  EXPECT_EQ(complaint_of("RUN <<EOF\n EOF"), "2:1: unterminated heredoc: no line says EOF");
  EXPECT_EQ(complaint_of("COPY a <<EOF\nEOF"),
            "2:6: COPY cannot accept a heredoc as a destination");
  EXPECT_EQ(complaint_of("COPY <<../x /d\n../x"),
            "2:6: heredoc '<<../x': its name is no file's name");
}

TEST(Transfers, know_their_flags) {
  const Copy copy = instruction<Copy>(
      "COPY --from=0 --chown=a:b --chmod=755 --link --parents=false --exclude=*.a --exclude=\"b "
      "c\" x y z");
  EXPECT_EQ(copy.sources, (Words{"x", "y"}));
  EXPECT_EQ(copy.destination, "z");
  EXPECT_EQ(copy.from, "0");
  EXPECT_EQ(copy.chown, "a:b");
  EXPECT_EQ(copy.chmod, "755");
  EXPECT_TRUE(copy.link);
  EXPECT_FALSE(copy.parents);
  EXPECT_EQ(copy.exclude, (Words{"*.a", "b c"}));
  const Add add =
      instruction<Add>("ADD --keep-git-dir=true --checksum=sha256:1 --unpack=false https://a/b /c");
  EXPECT_TRUE(add.keep_git_dir);
  EXPECT_EQ(add.checksum, "sha256:1");
  EXPECT_EQ(add.unpack, false);
  EXPECT_EQ(instruction<Add>("ADD a b").unpack, std::nullopt);
}

TEST(Transfers, take_names_with_spaces_as_json) {
  const Copy copy = instruction<Copy>("COPY [\"a b\", \"c\"]");
  EXPECT_EQ(copy.sources, Words{"a b"});
  EXPECT_EQ(copy.destination, "c");
}

TEST(Pairs, have_two_forms) {
  const Env env = instruction<Env>("ENV A=1 B=\"x y\" C=a\\ b \"D\"='z'");
  ASSERT_EQ(env.variables.size(), 4u);
  EXPECT_EQ(env.variables[1], (KeyValue{"B", "\"x y\""}));
  EXPECT_EQ(env.variables[2], (KeyValue{"C", "a\\ b"}));
  EXPECT_EQ(env.variables[3], (KeyValue{"\"D\"", "'z'"}));
  const Env old = instruction<Env>("ENV A   b c=d ");
  ASSERT_EQ(old.variables.size(), 1u);
  EXPECT_EQ(old.variables[0], (KeyValue{"A", "b c=d"}));
  EXPECT_EQ(instruction<Label>("LABEL a=b=c").labels[0], (KeyValue{"a", "b=c"}));
}

TEST(Others, are_read) {
  EXPECT_EQ(instruction<Expose>("EXPOSE 80 443/tcp $P").ports, (Words{"80", "443/tcp", "$P"}));
  EXPECT_EQ(instruction<Volume>("VOLUME /a /b").paths, (Words{"/a", "/b"}));
  EXPECT_EQ(instruction<Volume>("VOLUME [\"/a b\"]").paths, Words{"/a b"});
  EXPECT_EQ(instruction<User>("USER a:b").user, "a:b");
  EXPECT_EQ(instruction<Workdir>("WORKDIR /a b").path, "/a b");
  EXPECT_EQ(instruction<StopSignal>("STOPSIGNAL SIGINT").signal, "SIGINT");
  EXPECT_EQ(instruction<Maintainer>("MAINTAINER me <a@b>").name, "me <a@b>");
  EXPECT_EQ(instruction<Arg>("ARG a b=\"1 2\" c=").arguments,
            (std::vector<Arg::Argument>{{"a", std::nullopt}, {"b", "\"1 2\""}, {"c", ""}}));
}

TEST(HealthChecks, are_read) {
  EXPECT_EQ(instruction<HealthCheck>("HEALTHCHECK none").check.test, Words{"NONE"});
  const oci::HealthCheck check = instruction<HealthCheck>(
                                     "HEALTHCHECK --interval=1m30s --timeout=3s --start-period=0s "
                                     "--start-interval=5ms --retries=4 CMD curl -f x || exit 1")
                                     .check;
  EXPECT_EQ(check.test, (Words{"CMD-SHELL", "curl -f x || exit 1"}));
  EXPECT_EQ(check.interval_ns, 90'000'000'000);
  EXPECT_EQ(check.timeout_ns, 3'000'000'000);
  EXPECT_EQ(check.start_interval_ns, 5'000'000);
  EXPECT_EQ(check.retries, 4);
  EXPECT_EQ(instruction<HealthCheck>("HEALTHCHECK CMD [\"a\", \"b\"]").check.test,
            (Words{"CMD", "a", "b"}));
}

TEST(Triggers, are_kept_as_text) {
  EXPECT_EQ(instruction<OnBuild>("ONBUILD  run  echo $X").trigger, "run  echo $X");
  const auto trigger = parse_trigger("COPY --from=x a b", "image i, trigger 1");
  ASSERT_TRUE(trigger);
  EXPECT_EQ(std::get<Copy>(trigger->what).from, "x");
}

TEST(Triggers, of_an_image_are_one_allowed_instruction) {
  const auto message = [](std::string_view text) {
    const auto trigger = parse_trigger(text, "t");
    return trigger ? "none"
                   : trigger.error().message().substr(0, trigger.error().message().find('\n'));
  };
  EXPECT_EQ(message(""), "t: the trigger is empty");
  EXPECT_EQ(message("FROM a"), "t:1:1: FROM isn't allowed as an ONBUILD trigger");
  EXPECT_EQ(message("ONBUILD RUN a"), "t:1:1: ONBUILD isn't allowed as an ONBUILD trigger");
  EXPECT_EQ(message("RUN a\nRUN b"), "t:2:1: a trigger is one instruction");
  EXPECT_EQ(message("RUM a"), "t:1:1: unknown instruction: 'RUM' (did you mean RUN?)");
}

TEST(Complaints, name_and_show_the_place) {
  const auto file =
      parse_dockerfile("FROM a\n\n# x\nRUN --mount=type=bind,target=/ä \\\n  --foo x\n");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message(), "Dockerfile:5:3: unknown flag --foo\n    --foo x\n    ^");
  EXPECT_EQ(file.error().kind(), Kind::Invalid);
  const auto other = parse_dockerfile("FROM a\nCOPY ä\tb --from", "x/Dockerfile.dev");
  ASSERT_TRUE(other);
}

TEST(Complaints, are_safe_to_print) {
  const auto file = parse_dockerfile("FROM a\n\x1B[31m \xFF x\n");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message().find('\x1B'), std::string::npos);
  EXPECT_TRUE(is_utf8(file.error().message()));
  const auto wide =
      parse_dockerfile(cat("FROM a\nCOPY ", std::string(5000, 'x'), " --foo\nRUN --y x"));
  ASSERT_FALSE(wide);
  const auto far =
      parse_dockerfile(cat("FROM a\nRUN --mount=target=/", std::string(5000, 'x'), " --foo y\n"));
  ASSERT_FALSE(far);
  EXPECT_LT(far.error().message().size(), 300u);
  EXPECT_TRUE(far.error().message().ends_with("^"));
}

TEST(Complaints, about_values_show_their_instruction) {
  const Dockerfile file = parsed("FROM a\nRUN x\n");
  EXPECT_EQ(file.complain(file.stages[0].instructions[0].source, "exit status 1").message(),
            "Dockerfile:2: exit status 1\n  RUN x");
}

TEST(Complaints, about_whole_files) {
  EXPECT_EQ(complaint(""), "Dockerfile:1: file with no instructions");
  EXPECT_EQ(complaint("# nothing\n\n"), "Dockerfile:2: file with no instructions");
  EXPECT_EQ(complaint("ARG a\n"), "Dockerfile:1: dockerfile contains no stages to build");
  EXPECT_EQ(complaint("RUN a\nFROM b\n"),
            "Dockerfile:1:1: no build stage in current context: only ARG may stand before FROM");
  EXPECT_EQ(complaint(std::string_view("FROM a\nRUN b\0c\n", 15)),
            "Dockerfile:2:6: a NUL character: this is no text");
}

TEST(Complaints, about_instructions) {
  struct Case {
    const char* text;
    const char* complaint;
  };
  const Case cases[] = {
      {"RUNN a", "2:1: unknown instruction: 'RUNN' (did you mean RUN?)"},
      {"  Zebra", "2:3: unknown instruction: 'Zebra'"},
      {"FROM", "2:1: FROM requires either one or three arguments: FROM IMAGE [AS NAME]"},
      {"FROM a b", "2:6: FROM requires either one or three arguments: FROM IMAGE [AS NAME]"},
      {"FROM a on b", "2:6: FROM requires either one or three arguments: FROM IMAGE [AS NAME]"},
      {"FROM a AS 1b",
       "2:11: invalid name for build stage: '1b', name can't start with a number or contain "
       "symbols"},
      {"FROM a AS b/c",
       "2:11: invalid name for build stage: 'b/c', name can't start with a number or contain "
       "symbols"},
      {"FROM --platfrom=x a", "2:6: unknown flag --platfrom (did you mean --platform?)"},
      {"RUN", "2:1: RUN requires at least one argument"},
      {"RUN []", "2:5: RUN requires at least one argument"},
      {"RUN [1]", "2:5: when using JSON array syntax, arrays must be comprised of strings only"},
      {"CMD [\"a\", [\"b\"]]",
       "2:5: when using JSON array syntax, arrays must be comprised of strings only"},
      {"RUN --network=some a", "2:5: unsupported network mode 'some'"},
      {"RUN --security=some a", "2:5: unsupported security mode 'some'"},
      {"RUN --network a", "2:5: missing a value on flag --network"},
      {"RUN --network=none --network=host a", "2:20: duplicate flag --network"},
      {"RUN --mount=type=x a", "2:5: unsupported mount type 'x'"},
      {"CMD --flag", "2:5: unknown flag --flag"},
      {"ENV --flag a=b", "2:5: unknown flag --flag"},
      {"COPY", "2:1: COPY requires at least two arguments: SOURCE... DESTINATION"},
      {"COPY a", "2:6: COPY requires at least two arguments: SOURCE... DESTINATION"},
      {"COPY --link=maybe a b", "2:6: expecting boolean value for flag --link, not: 'maybe'"},
      {"COPY --link= a b", "2:6: expecting boolean value for flag --link, not: ''"},
      {"COPY --from=$x a b",
       "2:6: variable expansion is not supported for --from, define a new stage with FROM using "
       "ARG "
       "from global scope as a workaround"},
      {"COPY --from= a b", "2:6: --from is empty"},
      {"COPY --checksum=a a b", "2:6: unknown flag --checksum"},
      {"COPY https://a/b /c", "2:6: source can't be a URL for COPY"},
      {"ADD --from=a a b", "2:5: unknown flag --from"},
      {"ADD [\"a\"]", "2:5: ADD requires at least two arguments: SOURCE... DESTINATION"},
      {"ENV", "2:1: ENV requires at least one argument"},
      {"ENV a", "2:5: ENV must have two arguments"},
      {"ENV a=b c", "2:9: can't find = in 'c': must be of the form name=value"},
      {"ENV =b", "2:5: ENV names can not be blank"},
      {"LABEL", "2:1: LABEL requires at least one argument"},
      {"LABEL a", "2:7: LABEL must have two arguments"},
      {"ARG", "2:1: ARG requires at least one argument"},
      {"ARG =a", "2:5: ARG names can not be blank"},
      {"EXPOSE", "2:1: EXPOSE requires at least one argument"},
      {"VOLUME", "2:1: VOLUME requires at least one argument"},
      {"VOLUME []", "2:1: VOLUME requires at least one argument"},
      {"VOLUME [\"\"]", "2:8: VOLUME specified can not be an empty string"},
      {"USER", "2:1: USER requires exactly one argument"},
      {"WORKDIR", "2:1: WORKDIR requires exactly one argument"},
      {"STOPSIGNAL", "2:1: STOPSIGNAL requires exactly one argument"},
      {"MAINTAINER", "2:1: MAINTAINER requires exactly one argument"},
      {"SHELL", "2:1: SHELL requires at least one argument"},
      {"SHELL []", "2:1: SHELL requires at least one argument"},
      {"SHELL bash -c", "2:7: SHELL requires the arguments to be in JSON form"},
      {"HEALTHCHECK", "2:1: HEALTHCHECK requires at least one argument"},
      {"HEALTHCHECK NONE a", "2:18: HEALTHCHECK NONE takes no arguments"},
      {"HEALTHCHECK CMD", "2:13: missing command after HEALTHCHECK CMD"},
      {"HEALTHCHECK CMD []", "2:13: missing command after HEALTHCHECK CMD"},
      {"HEALTHCHECK RUN a", "2:13: unknown type 'RUN' in HEALTHCHECK (try CMD)"},
      {"HEALTHCHECK --interval=1us CMD a", "2:13: --interval cannot be less than 1ms"},
      {"HEALTHCHECK --retries=-1 CMD a", "2:13: --retries: '-1' is no number of retries"},
      {"HEALTHCHECK --retries=x CMD a", "2:13: --retries: 'x' is no number of retries"},
      {"ONBUILD", "2:1: ONBUILD requires at least one argument"},
      {"ONBUILD ONBUILD RUN a", "2:9: ONBUILD ONBUILD isn't allowed"},
      {"ONBUILD FROM a", "2:9: FROM isn't allowed as an ONBUILD trigger"},
      {"ONBUILD maintainer a", "2:9: MAINTAINER isn't allowed as an ONBUILD trigger"},
      {"ONBUILD RUN --foo a", "2:13: unknown flag --foo"},
      {"ONBUILD FOO", "2:9: unknown instruction: 'FOO'"},
  };
  for (const Case& c : cases) EXPECT_EQ(complaint_of(c.text), c.complaint) << c.text;
  EXPECT_TRUE(complaint_of("HEALTHCHECK --interval=soon CMD a").starts_with("2:13: 'soon'"));
}

TEST(Warnings, say_what_is_probably_not_meant) {
  const auto warning = [](std::string_view text) {
    const Dockerfile file = parsed(text);
    return file.warnings.empty() ? "none" : cat(file.warnings[0].line, ": ", file.warnings[0].text);
  };
  EXPECT_EQ(warning("FROM a AS b\nFROM c AS B\n"),
            "2: duplicate stage name 'b', stage names should be unique");
  EXPECT_EQ(warning("FROM a AS scratch\n"),
            "1: 'scratch' is reserved and should not be used as a stage name");
  EXPECT_EQ(warning("FROM a\nENV b c\n"),
            "2: ENV key=value should be used instead of ENV key value");
  EXPECT_EQ(warning("FROM a\nMAINTAINER b\n"), "2: MAINTAINER is deprecated in favor of LABEL");
  EXPECT_TRUE(warning("FROM a\nCMD b\nCMD c\n").starts_with("3: multiple CMD instructions"));
  EXPECT_EQ(warning("FROM a\nCMD b\nFROM a\nCMD c\n"), "none");
}

TEST(Limits, are_kept) {
  const auto kind = [](std::string_view text) {
    const auto file = parse_dockerfile(text);
    return file ? Kind::Internal : file.error().kind();
  };
  EXPECT_EQ(kind(std::string(dockerfile_bytes_max + 1, 'a')), Kind::Exhausted);
  EXPECT_EQ(kind(std::string(dockerfile_lines_max + 1, '\n')), Kind::Exhausted);
  EXPECT_EQ(kind(cat("FROM a\nRUN ", std::string(dockerfile_line_bytes_max, 'a'))),
            Kind::Exhausted);
  const auto repeated = [](std::string_view line, size_t count) {
    std::string text = "FROM a\n";
    for (size_t i = 0; i < count; ++i) text += line;
    return text;
  };
  EXPECT_EQ(kind(repeated("FROM a\n", dockerfile_stages_max)), Kind::Exhausted);
  EXPECT_EQ(kind(repeated("USER a\n", dockerfile_instructions_max)), Kind::Exhausted);
  std::string words = "FROM a\nCOPY";
  for (size_t i = 0; i <= dockerfile_words_max; ++i) words += " a";
  EXPECT_EQ(kind(words), Kind::Exhausted);
  std::string heredocs = "FROM a\nRUN";
  for (size_t i = 0; i <= dockerfile_heredocs_max; ++i) heredocs += " <<E";
  EXPECT_EQ(kind(heredocs), Kind::Exhausted);
  std::string nested = "FROM a\n";
  for (size_t i = 0; i < 100'000; ++i) nested += "ONBUILD ";
  EXPECT_EQ(kind(nested + "RUN <<E\nE\n"), Kind::Invalid);
}

}  // namespace
}  // namespace nacelle::build
