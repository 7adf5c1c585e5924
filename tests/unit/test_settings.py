"""hitui.toml is read strictly: the message names file, key and the mend."""

from pathlib import Path

import pytest
from hitui_runners import engines

from hitui.adapters import checkpoints
from hitui.domain.units import parse_duration, parse_size
from hitui.errors import SettingsError
from hitui.settings import CONFIG_KINDS, ENGINES, load_settings

JUDGE = "[judge]\nbase_url = 'http://localhost:8000/v1'\nmodel = 'gpt-4o'\n"
OF_A_MODEL = "[runner.a]\nengine = 'transformers'\nmodel = 'm'\n"
OF_A_SERVER = "[runner.a]\nengine = 'openai'\nbase_url = 'http://localhost:8000/v1'\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "hitui.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_outline_of_the_interfaces_is_accepted(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [workspace]
        results = ["result/complied"]
        questions = "data/QA.json"
        data = "/data/RealHiTBench"
        [gpus]
        exclude = [5, 6, 7]
        min_free = "20GiB"
        max_utilization = 10
        hold = "10s"
        [runner.qwen3vl]
        engine = "transformers"
        python = "/opt/conda/envs/vl/bin/python"
        model = "/data/models/Qwen3-VL-8B-Instruct"
        [runner.original]
        command = ["python", "run.py", "--modality", "{modality}", "--task_ids", "{ids}"]
        [[config]]
        name = "qwen3vl_text/text_html"
        runner = "qwen3vl"
        modality = "text"
        format = "html"
        min_free = "30GiB"
        [matrix.more]
        runner = "original"
        modality = ["image", "mix"]
        format = ["csv", "json"]
        """,
    )
    settings = load_settings(tmp_path, file)
    assert [config.name for config in settings.configs] == [
        "qwen3vl_text/text_html",
        "more/image",
        "more/mix_csv",
        "more/mix_json",
    ]
    assert settings.min_free_bytes("qwen3vl_text/text_html", "qwen3vl") == 30 * 2**30
    assert settings.min_free_bytes("more/image", "original") == 20 * 2**30
    assert settings.path("data/QA.json") == tmp_path / "data" / "QA.json"
    assert settings.path("/data/x") == Path("/data/x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[workspce]\n", "unknown key 'workspce'; did you mean 'workspace'?"),
        ("[gpus]\nexlude = [1]\n", "[gpus] unknown key 'exlude'; did you mean 'exclude'?"),
        ("[runner.a]\nengin = 'demo'\n", "[runner.a] unknown key 'engin'; did you mean 'engine'?"),
        (
            "[[config]]\nname = 'a/b'\nformt = 'csv'\n",
            "[config a/b] unknown key 'formt'; did you mean 'format'?",
        ),
        (
            "[gpus]\nmax_utilization = 'ten'\n",
            "[gpus] max_utilization: a whole number is expected, not a text",
        ),
        ("[gpus]\nhold = 10\n", '[gpus] hold: a text is expected (such as "10s"), not a whole number'),
        (
            "[gpus]\nmin_free = 20\n",
            '[gpus] min_free: a text is expected (such as "20GiB"), not a whole number',
        ),
        ("[gpus]\nexclude = 5\n", "[gpus] exclude: a list is expected, not a whole number"),
        ("[gpus]\nexclude = [1.5]\n", "[gpus] exclude[0]: a whole number is expected, not a fraction"),
        ("[runner.a]\ncommand = 'x'\n", "[runner.a] command: a list is expected, not a text"),
        ("[runner.a]\nengine = 'demo'\nenv = {A = 5}\n", "[runner.a] env: a text is expected"),
        (
            "[runner]\nengine = 'demo'\n",
            "[runner.engine]: a table is expected, not a text; write [runner.NAME]",
        ),
        ("[[matrix]]\n", "[matrix]: a table is expected, not a list; write [matrix.GROUP]"),
        ("[config]\nname = 'a'\n", "[config]: a list is expected, not a table; write [[config]]"),
        ("[[config]]\nname = 'a'\n[[config]]\nformat = 'csv'\n", "[config number 2]: `name` is needed"),
        ("[matrix.g]\n", "[matrix.g]: `modality` is needed"),
        ("gpus = 5\n", "[gpus]: a table is expected, not a whole number"),
        (
            "[gpus]\nmax_utilization = 300\n",
            "[gpus] max_utilization: a percentage from 0 to 100 is expected, not 300",
        ),
        ("[gpus]\nmin_free = '20'\n", "[gpus] min_free: a size with its unit is expected"),
        ("[gpus]\nhold = '10'\n", "[gpus] hold: a time with its unit is expected"),
        (
            "[runner.r]\ncommand = ['true', '{output}']\nshards = 2\n",
            "[runner.r] shards: its command needs {ids} or {ids_file}, and {output}; add them",
        ),
        (
            "[runner.r]\ncommand = ['true']\nmax_rungs = 2\n",
            "[runner.r] max_rungs: only runners with an engine of ours have a recovery ladder",
        ),
        (
            "[runner.r]\nengine = 'demo'\nrecovery = 'at once'\n",
            "[runner.r] recovery: 'at once' is not known; did you mean 'at-once'?",
        ),
        (
            "[matrix.g]\nmodality = ['image']\nmax_rungs = 5\n",
            "[matrix.g] 'g/image' max_rungs: a number from 0 to 4 is expected, not 5",
        ),
        (
            "[[config]]\nname = 'a'\nrecovery_gpus = 0\n",
            "[[config]] 'a' recovery_gpus: a number from 1 on is expected, not 0",
        ),
        (
            "[runner.r]\ncommand = ['true']\ngpus = 0\n",
            "[runner.r] gpus: a number from 1 on is expected, not 0",
        ),
        (
            "[matrix.g]\nmodality = ['image']\ngpus = -1\n",
            "[matrix.g] 'g/image' gpus: a number from 1 on is expected, not -1",
        ),
        (
            "[runner.r]\ncommand = ['true']\nshare = 'yes'\n",
            "[runner.r] share: true or false is expected, not a text",
        ),
        ("[queue]\nstall = 30\n", '[queue] stall: a text is expected (such as "30m"), not a whole number'),
        (
            "[queue]\nstall = 'no'\n",
            "[queue] stall: a time with its unit is expected, such as 10s or 1h30m, ",
        ),
        ("[queue]\ngpu_lost = '1'\n", "[queue] gpu_lost: a time with its unit is expected"),
        ("[queue]\nquick = 'never'\n", "[queue] quick: a time with its unit is expected"),
        ("[queue]\npause_after_errors = -1\n", "[queue] pause_after_errors: a number from 0 (never) on"),
        ("[[config]]\nname = 'a'\nstall = 'x'\n", "[[config]] 'a' stall: a time with its unit"),
        ("[[config]]\nname = 'a'\nresume = 1\n", "resume: true or false is expected, not a whole number"),
        ("[runner.a]\nengine = 'transfomers'\nmodel = 'm'\n", "did you mean 'transformers'?"),
        ("[runner.a]\nengine = 'transformers'\n", "needs model"),
        ("[runner.a]\nengine = 'openai'\n", "[runner.a]: engine 'openai' needs base_url"),
        ("[judge]\nmodel = 'gpt-4o'\n", "[judge]: base_url is needed; without [judge] nothing is judged"),
        (JUDGE.replace("gpt-4o", " "), "[judge]: model is needed"),
        (JUDGE.replace("http://", ""), "[judge] base_url: an address such"),
        (JUDGE + "api_key_env = 'sk-123'\n", "[judge] api_key_env: the name of the variable"),
        (JUDGE + "timeout = '0s'\n", "[judge] timeout: more than no time is expected, not 0s"),
        (JUDGE + "concurrency = 0\n", "[judge] concurrency: a number from 1 on is expected, not 0"),
        (JUDGE + "promts = 'x'\n", "[judge] unknown key 'promts'; did you mean 'prompts'?"),
        (
            "[runner.a]\nengine = 'openai'\nbase_url = 'localhost:8000'\n",
            "[runner.a] base_url: an address such",
        ),
        (OF_A_SERVER + "concurrency = 0\n", "[runner.a] concurrency: a number from 1 on is expected"),
        (OF_A_SERVER + "timeout = '90'\n", "[runner.a] timeout: a time with its unit"),
        (OF_A_SERVER + "patience = '0s'\n", "[runner.a] patience: more than no time is expected, not 0s"),
        (OF_A_SERVER + "model = ' '\n", "[runner.a] model: the name is empty; leave the key out"),
        (
            OF_A_SERVER + "api_key_env = 'sk-123'\n",
            "[runner.a] api_key_env: the name of the variable that holds the key is expected, not the key",
        ),
        (
            "[runner.a]\nengine = 'demo'\ntimeout = '5s'\n",
            "[runner.a] timeout: only the engine 'openai' has this key",
        ),
        ("[runner.a]\nengine = 'vllm'\n", "[runner.a]: engine 'vllm' needs model, the folder of the model"),
        (
            "[runner.a]\nengine = 'demo'\nconcurrency = 4\n",
            "[runner.a] concurrency: only the engine 'openai' or 'vllm' has this key",
        ),
        (
            "[runner.a]\nengine = 'vllm'\nmodel = 'm'\ngpu_memory_utilization = 1.5\n",
            "[runner.a] gpu_memory_utilization: a part above 0 and at most 1 is expected, not 1.5",
        ),
        (
            "[runner.a]\nengine = 'vllm'\nmodel = 'm'\nadapter = 'a'\n",
            "[runner.a] adapter: only the engine 'transformers' has this key",
        ),
        (
            OF_A_MODEL + "dtype = 'flaot16'\n",
            "[runner.a] dtype: 'flaot16' is not known; did you mean 'float16'?",
        ),
        (OF_A_MODEL + "adapter = ' '\n", "[runner.a] adapter: the path is empty; `.` is this folder"),
        (
            OF_A_SERVER + "shared_prefixes = false\n",
            "[runner.a] shared_prefixes: only the engine 'transformers' has this key",
        ),
        (
            "[runner.a]\ncommand = ['x']\nmax_pixels = 9\n",
            "[runner.a] max_pixels: only the engine 'transformers' or 'vllm' or 'openai' has this key",
        ),
        (
            OF_A_MODEL + "max_image_pixels = 0\n",
            "[runner.a] max_image_pixels: a number from 1 on is expected",
        ),
        (
            OF_A_MODEL + "truncation = 'orignal'\n",
            "[runner.a] truncation: 'orignal' is not known; did you mean 'original'?",
        ),
        (
            OF_A_MODEL + "prompt_order = 'table-first'\n",
            "[runner.a] prompt_order: only the benchmark's own prompts have an order; give them by prompts",
        ),
        ("[runner.a]\n", "either engine (ours) or command"),
        ("[runner.a]\ncommand = []\n", "command is empty"),
        ("[[config]]\nname = 'a'\nrunner = 'b'\n", "[[config]] 'a' runner: 'b' is not known"),
        ("[[config]]\nname = 'a'\n[[config]]\nname = 'a'\n", "two configs have this name"),
        ("[[config]]\nname = '../a'\n", "a name may not"),
        ("[[config]]\nname = 'a'\nmodality = 'txt'\n", "did you mean 'text'?"),
        ("[gpus\n", "is not valid TOML"),
        ("[gpus]\nexclude = [-1]\n", "[gpus] exclude: indices from 0 on are expected, not -1"),
        ("[matrix.g]\nmodality = ['video']\n", "[matrix.g] modality: 'video' is not known"),
        ("[matrix.g]\nmodality = ['text']\nformat = ['htm']\n", "did you mean 'html'?"),
        ("[matrix.g]\nmodality = ['text']\n", "[matrix.g]: format is needed for text and mix"),
        ("[matrix.g]\nmodality = []\n", "[matrix.g]: modality is empty"),
        (
            "[runner.a]\nengine = 'demo'\nmax_input_tokens = -5\n",
            "max_input_tokens: a number from 1 on is expected",
        ),
        (
            "[runner.a]\nengine = 'transformers'\nmodel = 'm'\nbatch_tokens = -1\n",
            "[runner.a] batch_tokens: a number from 0 on is expected, not -1",
        ),
        (
            "[runner.a]\ncommand = ['x', '{formt}']\n",
            "[runner.a] command: {formt} is not known; did you mean 'format'?",
        ),
        ("[[config]]\nname = 'a'\nrunner = 'zz'\n", "'zz' is not known; there is none yet"),
        ("[gpus]\nmin_free = '" + "9" * 400 + "GiB'\n", "[gpus] min_free: a size"),
        ("[gpus]\nhold = '" + "9" * 400 + "s'\n", "[gpus] hold: a time"),
        ("x = " + "[" * 9000, "is not valid TOML: it is nested too deep"),
        ("x = " + "9" * 9000, "is not valid TOML: "),
        ("[workspace]\nresults = ['~no-such-user/x']\n", "[workspace] results: ~no-such-user/x: whose home"),
        ("[workspace]\nquestions = ''\n", "[workspace] questions: the path is empty; `.` is this folder"),
        ("[runner.a]\nengine = 'transformers'\nmodel = ''\n", "[runner.a] model: the path is empty"),
        ("[runner.a]\ncommand = ['~no-such-user/x']\n", "[runner.a] command: ~no-such-user/x: whose home"),
        ("[runner.a]\ncommand = ['']\n", "[runner.a]: command is empty"),
        (
            "[runner.a]\ncommand = ['x']\nenv = {'A=B' = 'x'}\n",
            "[runner.a] env: 'A=B' is no name of a variable",
        ),
        ('[runner.a]\ncommand = ["a\\u0000"]\n', "[runner.a] command: holds a NUL character"),
        ('[[config]]\nname = "a\\u0000"\n', "holds a NUL character"),
        ('[matrix."a\\u0000"]\nmodality = ["text"]\n', "holds a NUL character"),
        (
            "[[config]]\nname = 'a'\noutput = '~no-such-user'\n",
            "[[config]] 'a' output: ~no-such-user: whose home",
        ),
        (
            "[[config]]\nname = 'a'\nkind = 'file_set'\ntotal = -5\n",
            "'a' total: a number from 1 on is expected, not -5",
        ),
        (
            "[[config]]\nname = 'a'\nkind = 'file_set'\npattern = '/x/*'\n",
            "'a' pattern: a glob below the folder",
        ),
        ("[[config]]\nname = 'a'\nkind = 'file_set'\npattern = ''\n", "'a' pattern: a glob below the folder"),
        (
            "[[config]]\nname = 'a'\nkind = 'file_set'\npattern = '**x'\n",
            "'a' pattern: a glob below the folder",
        ),
        (
            "[[config]]\nname = 'a'\noutput = 'r/x'\n[[config]]\nname = 'b'\noutput = './r/x'\n",
            "[[config]] 'b' output: 'a' writes there too; give each a folder of its own",
        ),
        (
            "[workspace]\nresults = ['r']\n[[config]]\nname = 'a/b'\n[[config]]\nname = 'c'\noutput = 'r/a/b'\n",
            "[[config]] 'c' output: 'a/b' writes there too; give each a folder of its own",
        ),
        (
            "[[config]]\nname = 'c'\noutput = 'g/image'\n[matrix.g]\nmodality = ['image']\n",
            "[matrix.g] 'g/image': 'c' writes there too; give each a folder of its own",
        ),
        (
            "[[config]]\nname = 'a//b'\n[[config]]\nname = 'a/b'\n",
            "[[config]] 'a/b': 'a//b' writes there too; give each a folder of its own",
        ),
        ("[history]\nkeep = '90'\n", "[history] keep: a time with its unit is expected"),
        ("[history]\nkeep = 90\n", '[history] keep: a text is expected (such as "90d")'),
        ("[notify]\non = ['fail']\n", "[notify] on: 'fail' is not known; did you mean 'failed'?"),
        ("[notify]\nurls = ['secret@example.org']\n", "[notify] urls: each is an address of apprise"),
        (
            "[matrix.g]\nmodality = ['text', 'text']\nformat = ['csv']\n",
            "[matrix.g] 'g/text_csv': two configs have this name",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert expected in message
    assert "\n" not in message


A_TIME, A_SIZE = "a time with its unit is expected", "a size with its unit is expected"
A_RUNNER, A_CONFIG = "[runner.a]\nengine = 'vllm'\nmodel = 'm'", "[[config]]\nname = 'a'"
NO_PATH, NOT_KNOWN, FROM_ONE = "the path is empty", "is not known", "a number from 1 on is expected"


@pytest.mark.parametrize(
    ("section", "keys", "value", "expected"),
    [
        ("[queue]", "retry_pause join shortest_shard quick stall gpu_lost", "'5'", A_TIME),
        ("[queue]", "retries pause_after_errors", "-1", "a number from 0"),
        ("[gpus]", "max_utilization", "101", "a percentage from 0 to 100"),
        ("[gpus]", "max_utilization", "-1", "a percentage from 0 to 100"),
        ("[workspace]", "questions data", "' '", NO_PATH),
        ("[workspace]", "results", "['']", NO_PATH),
        ("[workspace]", "runner", "'x'", NOT_KNOWN),
        ("[charts]", "python", "''", NO_PATH),
        (JUDGE, "prompts", "''", NO_PATH),
        (JUDGE, "concurrency max_input_tokens max_new_tokens", "0", FROM_ONE),
        (A_RUNNER, "python prompts cwd", "''", NO_PATH),
        (A_RUNNER, "min_free", "'5'", A_SIZE),
        (A_RUNNER, "gpus shards max_input_tokens max_new_tokens max_pixels recovery_gpus", "0", FROM_ONE),
        (A_RUNNER, "gpu_memory_utilization", "0", "a part above 0"),
        (A_RUNNER, "truncation prompt_order recovery", "'x'", NOT_KNOWN),
        (A_CONFIG, "kind runner modality format recovery", "'x'", NOT_KNOWN),
        (A_CONFIG, "min_free", "'5'", A_SIZE),
        (A_CONFIG, "gpus shards total recovery_gpus", "0", FROM_ONE),
        (A_CONFIG, "max_rungs", "-1", "a number from 0 to 4"),
        (A_CONFIG, "stall", "'5'", A_TIME),
        (A_CONFIG, "output", "''", NO_PATH),
        (A_CONFIG, "folders", "['']", NO_PATH),
    ],
)
def test_each_value_is_looked_at(tmp_path: Path, section: str, keys: str, value: str, expected: str) -> None:
    for key in keys.split():
        with pytest.raises(SettingsError) as caught:
            load_settings(tmp_path, write(tmp_path, f"{section}\n{key} = {value}\n"))
        assert f" {key}: " in str(caught.value)
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[gpus]\nmax_utilization = 0\n",
        "[gpus]\nmax_utilization = 100\nexclude = [0]\n",
        "[queue]\nretries = 0\npause_after_errors = 0\nretry_pause = '0s'\n",
        f"{A_RUNNER}\ngpu_memory_utilization = 1.0\ngpus = 1\n",
        f"{A_CONFIG}\nmax_rungs = 0\ntotal = 1\n",
    ],
)
def test_the_least_and_the_most_are_taken(tmp_path: Path, text: str) -> None:
    load_settings(tmp_path, write(tmp_path, text))


def test_each_time_is_read_as_it_stands(tmp_path: Path) -> None:
    text = "[queue]\nretry_pause = '1s'\njoin = '2s'\nshortest_shard = '3s'\nquick = '4s'\nstall = '5s'\n"
    text += "gpu_lost = 'never'\n[history]\nkeep = '1d'\n"
    settings = load_settings(
        tmp_path, write(tmp_path, f"{text}{OF_A_SERVER}timeout = '7s'\npatience = '8s'\n")
    )
    queue, server = settings.queue, settings.runners["a"]
    assert (queue.retry_pause_seconds, queue.join_seconds, queue.shortest_shard_seconds) == (1, 2, 3)
    assert (queue.quick_seconds, queue.stall_seconds, queue.gpu_lost_seconds) == (4, 5, None)
    assert (server.timeout_seconds, server.patience_seconds) == (7, 8)
    assert settings.history.keep_seconds == 86400


@pytest.mark.parametrize(
    ("words", "takes"),
    [
        ("{ids} {output}", True),
        ("{ids_file} {output}", True),
        ("{output}", False),
        ("{ids} {ids_file}", False),
    ],
)
def test_a_command_takes_shards_that_can_be_told_its_tasks_and_its_folder(
    tmp_path: Path, words: str, takes: bool
) -> None:
    text = f"[runner.r]\ncommand = {['true', *words.split()]}\n"
    assert load_settings(tmp_path, write(tmp_path, text)).runners["r"].takes_shards == takes


def test_sizes_and_times_carry_units() -> None:
    assert parse_size("20GiB") == 20 * 2**30
    assert parse_size("1.5 TB") == 1_500_000_000_000
    assert parse_size("0B") == 0
    assert parse_size("20000000000B") == 2 * 10**10
    assert parse_duration("1h30m") == 5400
    assert parse_duration("250ms") == 0.25
    for text in ("20", "20G", "GiB", "-1GiB"):
        with pytest.raises(ValueError, match="size"):
            parse_size(text)
    for text in ("10", "ten s", "", "5s later"):
        with pytest.raises(ValueError, match="time"):
            parse_duration(text)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "hitui.toml"
    file.write_bytes(b"\xef\xbb\xbf[gpus]\nexclude = [5]\n")
    assert load_settings(tmp_path, file).gpus.exclude == [5]


def test_braces_that_mean_something_to_the_program_are_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path, "[runner.a]\ncommand = ['python', '-c', 'print(f\"{zebra}\")']\n")
    assert load_settings(tmp_path, file).runners["a"].command == ["python", "-c", 'print(f"{zebra}")']


def test_the_kinds_that_settings_may_name_are_those_that_are_registered() -> None:
    assert set(ENGINES) == set(engines.ENGINES)
    assert set(CONFIG_KINDS) == set(checkpoints.KINDS)
