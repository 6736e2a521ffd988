"""RLDS in TFRecord files is read as what it says; files are written here by Protocol Buffers' own
library, with a checksum computed bit by bit."""

import contextlib
import gzip
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from spinward.cli import main
from spinward.core import Box, Dict, Discrete
from spinward.data import store, tfrecords
from spinward.data.formats import converted, opened_any
from spinward.data.plan import ImportOptions
from spinward.errors import DamagedFileError, SettingsError

LAST = (
    "{} episodes have a reward with their last observation, which is of no step in RLDS: left out"
)


def messages():
    """`tf.train.Example`, as its definition has it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    many, one = 3, 1

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field, kind, label, of) in enumerate(fields, 1):
            made.field.add(name=field, number=number, type=kind, label=label, type_name=of)
        return made

    message("BytesList", ("value", 12, many, None))
    message("FloatList", ("value", 2, many, None))
    message("Int64List", ("value", 3, many, None))
    lists = [("bytes_list", 11, one, ".t.BytesList"), ("float_list", 11, one, ".t.FloatList"),
             ("int64_list", 11, one, ".t.Int64List")]  # fmt: skip
    message("Feature", *lists)
    features = message("Features", ("feature", 11, many, ".t.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.field.add(name="key", number=1, type=9, label=one)
    entry.field.add(name="value", number=2, type=11, label=one, type_name=".t.Feature")
    entry.options.map_entry = True
    message("Example", ("features", 11, one, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def slow_crc(data):
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def framed(data):
    def masked(x):
        crc = slow_crc(x)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

    head = struct.pack("<Q", len(data))
    return head + masked(head) + data + masked(data)


def encoded(features):
    example = messages()()
    for name, values in features.items():
        feature = example.features.feature[name]
        if isinstance(values, list):
            feature.bytes_list.value.extend(values)
        elif values.dtype.kind == "f":
            feature.float_list.value.extend(values.reshape(-1).tolist())
        else:
            feature.int64_list.value.extend(values.reshape(-1).astype(int).tolist())
    return example.SerializeToString()


def episode(length, terminal, rng, **more):
    """The features of an episode of so many steps, and one more for what was seen last."""
    count = length + 1
    at = np.arange(count)
    return {
        "steps/is_first": at == 0, "steps/is_last": at == length,
        "steps/is_terminal": (at == length) & terminal,
        "steps/observation": rng.normal(size=(count, 3)).astype(np.float32),
        "steps/action": rng.integers(3, size=count),
        "steps/reward": rng.normal(size=count).astype(np.float32),
        "steps/discount": np.ones(count, np.float32),
    } | more  # fmt: skip


def write(path, episodes):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(b"".join(framed(encoded(e)) for e in episodes))
    return path


@pytest.mark.parametrize("size", [0, 1, 9, 4095, 4096, 5001, 70_001])
def test_checksums_are_those_of_the_standard(size):
    assert tfrecords.crc32c(b"123456789") == 0xE3069283 and tfrecords.crc32c(b"") == 0
    assert (
        tfrecords.crc32c(b"\0" * 32) == 0x8A9136AA and tfrecords.crc32c(b"\xff" * 32) == 0x62A8AB43
    )
    data = np.random.default_rng(size).bytes(size)
    assert tfrecords.crc32c(data) == slow_crc(data)


def test_features_are_what_protocol_buffers_wrote():
    rng = np.random.default_rng(0)
    written = {
        "ints": np.array([0, 1, -1, 127, 128, 2**62, -(2**63), 300]),
        "floats": rng.normal(size=1000).astype(np.float32),
        "texts": [b"", b"a", b"\0\xff" * 200], "none": np.zeros(0, np.int64),
    }  # fmt: skip
    found = tfrecords.example(encoded(written))
    assert found["texts"] == written["texts"] and len(found["none"]) == 0
    np.testing.assert_array_equal(found["ints"], written["ints"])
    np.testing.assert_array_equal(found["floats"], written["floats"])
    # Lists that are not packed, as older writers have them.
    assert tfrecords.feature(b"\x1a\x05\x08\x05\x08\xac\x02").tolist() == [5, 300]
    single = b"\x12\x0a" + b"".join(b"\x0d" + struct.pack("<f", x) for x in (1.5, -2.0))
    assert tfrecords.feature(single).tolist() == [1.5, -2.0]


def test_episodes_are_aligned_and_their_ends_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    lengths, terminal = (4, 1, 6, 3), (True, False, True, False)
    made = [episode(n, t, rng) for n, t in zip(lengths, terminal, strict=True)]
    made[3]["steps/is_last"][:] = False  # the recording was cut
    made.insert(2, episode(2, True, rng, invalid=np.array([1])))
    made.insert(3, episode(0, True, rng))
    write(tmp_path / "d/x-train.tfrecord-00000-of-00002", made[:2])
    write(tmp_path / "d/x-train.tfrecord-00001-of-00002", made[2:])
    notes = converted(tmp_path / "d", tmp_path / "out", ImportOptions())
    assert notes == ("1 episodes left out that are marked as invalid",
                     "1 episodes left out that have no step", LAST.format(4))  # fmt: skip
    found = store.opened(tmp_path / "out")
    assert found.card.action == Discrete(3) and found.card.obs == Box((3,))
    fields = found.at(np.arange(found.rows))
    kept = [made[i] for i in (0, 1, 4, 5)]
    for key, name, part in (("obs", "observation", slice(0, -1)),
                            ("action", "action", slice(0, -1)),
                            ("next_obs", "observation", slice(1, None)),
                            ("reward", "reward", slice(0, -1))):  # fmt: skip
        wanted = np.concatenate([e[f"steps/{name}"][part] for e in kept])
        np.testing.assert_array_equal(fields[key], wanted.astype(fields[key].dtype))
    ends = np.cumsum(lengths) - 1
    assert np.flatnonzero(fields["terminated"]).tolist() == [ends[0], ends[2]]
    assert np.flatnonzero(fields["truncated"]).tolist() == [ends[1], ends[3]]
    assert np.flatnonzero(fields["cut"]).tolist() == [ends[3]]


def test_pictures_described_shapes_and_amounts_are_read(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(4, 8, 6, 3), dtype=np.uint8)

    def png(x):
        buffer = io.BytesIO()
        Image.fromarray(x).save(buffer, "PNG")
        return buffer.getvalue()

    parts = {
        "steps/observation/image": [png(x) for x in pixels],
        "steps/observation/state": rng.normal(size=(4, 2)).astype(np.float32),
        "steps/observation/text": [b"pick it up"] * 4,
        "steps/observation/wrist cam": rng.integers(256, size=(4, 5, 5, 1)),
        "steps/action": rng.uniform(0, 2, size=(4, 2)).astype(np.float32),
    }
    made = episode(3, True, rng, **parts)
    del made["steps/observation"]
    write(tmp_path / "d/x.tfrecord", [made])
    shape = {"tensor": {"shape": {"dimensions": ["5", "5", "1"]}, "dtype": "uint8"}}
    observation = {"featuresDict": {"features": {"wrist cam": shape}}}
    inner = {"featuresDict": {"features": {"observation": observation}}}
    described = {"featuresDict": {"features": {"steps": {"sequence": {"feature": inner}}}}}
    (tmp_path / "d/features.json").write_text(json.dumps(described))
    with pytest.raises(DamagedFileError, match="an action is outside -1 to 1"):
        converted(tmp_path / "d", tmp_path / "x", ImportOptions())
    notes = converted(tmp_path / "d", tmp_path / "out", ImportOptions(low=0.0, high=2.0))
    assert notes == (LAST.format(1), "left out, as they are no numbers: steps/observation/text")
    found = store.opened(tmp_path / "out")
    fields = found.at(np.arange(3))
    np.testing.assert_array_equal(fields["obs"]["image"], pixels[:3])
    np.testing.assert_array_equal(fields["next_obs"]["image"], pixels[1:])
    np.testing.assert_array_equal(
        fields["obs"]["wrist_cam"], parts["steps/observation/wrist cam"][:3]
    )
    assert isinstance(found.card.obs, Dict) and fields["obs"]["wrist_cam"].dtype == np.uint8
    np.testing.assert_allclose(
        found.card.action.from_unit(fields["action"]), parts["steps/action"][:3], rtol=1e-6
    )


def test_the_kind_of_an_end_that_is_not_told_is_asked_for(tmp_path):
    made = episode(3, True, np.random.default_rng(0))
    del made["steps/is_terminal"]
    path = write(tmp_path / "x.tfrecord", [made])
    with pytest.raises(SettingsError, match=r"no steps/is_terminal.*--ends terminated"):
        converted(path, tmp_path / "d", ImportOptions())
    for kind in ("terminated", "truncated"):
        converted(path, tmp_path / kind, ImportOptions(ends=kind))
        fields = store.opened(tmp_path / kind).at(np.arange(3))
        assert fields[kind].tolist() == [False, False, True]
        assert not fields["truncated" if kind == "terminated" else "terminated"].any()


def test_files_that_are_zipped_are_read_and_any_format_is_inspected(tmp_path, capsys):
    made = [episode(3, True, np.random.default_rng(i)) for i in range(5)]
    path = write(tmp_path / "x.tfrecord", made)
    zipped = tmp_path / "y.tfrecord.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    with opened_any(zipped, ImportOptions()) as data:
        assert data.rows == 15
    assert main.main(["data", "inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 15
    assert main.main(["data", "convert", str(path), "--out", str(tmp_path / "d")]) == 0
    assert "15 steps in 5 episodes" in capsys.readouterr().out
    zipped.write_bytes(zipped.read_bytes()[:-30])
    with pytest.raises(DamagedFileError, match=r"y\.tfrecord\.gz: record \d cannot be unpacked"):
        converted(zipped, tmp_path / "e", ImportOptions())


def test_every_cut_and_every_flipped_bit_is_told_by_file_and_record(tmp_path):
    made = [episode(3, True, np.random.default_rng(i)) for i in range(3)]
    path = write(tmp_path / "x.tfrecord", made)
    whole = path.read_bytes()
    borders = np.cumsum([0] + [len(framed(encoded(e))) for e in made])
    rng = np.random.default_rng(0)
    for size in rng.choice(len(whole), 30, replace=False):
        path.write_bytes(whole[:size])
        if size in borders:
            continue
        record = int(np.searchsorted(borders, size, "right")) - 1
        with pytest.raises(DamagedFileError, match=rf"record {record} \(byte .*the file was cut"):
            converted(path, tmp_path / "d", ImportOptions())
    for place in rng.choice(len(whole), 60, replace=False):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        record = int(np.searchsorted(borders, place, "right")) - 1
        with pytest.raises(DamagedFileError, match=rf"record {record} .*(checksum|were written)"):
            converted(path, tmp_path / "d", ImportOptions())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tfrecord"]


RNG = np.random.default_rng(0)
WRONG = {
    "no steps": ({"steps/is_first": np.zeros(0, int)}, "no steps/is_first"),
    "a first step in the middle": ({"steps/is_first": np.array([1, 0, 1, 0])}, "in its middle is"),
    "a last step in the middle": ({"steps/is_last": np.array([0, 1, 0, 1])}, "in its middle is"),
    "a terminal step in the middle": ({"steps/is_terminal": np.array([0, 1, 0, 1])},
                                      "in its middle is terminal"),
    "too few rewards": ({"steps/reward": np.ones(3, np.float32)}, "reward has 3 numbers for 4"),
    "no reward": ({"steps/reward": [b"1"] * 4}, "lacks the numbers steps/reward"),
    "a reward that is not finite": ({"steps/reward": np.float32([0, np.nan, 0, 0])},
                                    "reward of step 1 is not finite"),
    "an infinite observation": ({"steps/observation": np.full((4, 3), np.inf, np.float32)},
                                "obs of step 0 is not finite"),
    "a negative choice": ({"steps/action": np.array([0, -1, 0, 0])}, "an action of -1 to 0"),
    "an action in parts": ({"steps/action": [b"a"]}, "expected one steps/action"),
    "another width": ({"steps/observation": np.ones((4, 2), np.float32)}, r"expected.*\(3,\)"),
    "amounts for choices": ({"steps/action": np.ones(4, np.float32)}, "not the actions of the"),
    "no image": ({"steps/observation": [b"\x89PNG\r\n\x1a\n broken"] * 4}, "of step 0 is no image"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_an_episode_that_cannot_be_is_told_by_its_number(kind, tmp_path):
    change, message = WRONG[kind]
    good = episode(3, True, RNG)
    path = write(tmp_path / "x.tfrecord", [good, good | change])
    with pytest.raises((DamagedFileError, SettingsError), match=message) as told:
        converted(path, tmp_path / "d", ImportOptions())
    assert "x.tfrecord: episode 1" in str(told.value) and not (tmp_path / "d").exists()


def test_missing_shards_other_records_and_wrong_descriptions_are_told(tmp_path):
    path = write(tmp_path / "d/x.tfrecord-00001-of-00003", [episode(3, True, RNG)])
    with pytest.raises(DamagedFileError, match=r"x\.tfrecord-00000-of-00003 is missing"):
        converted(tmp_path / "d", tmp_path / "out", ImportOptions())
    path.rename(tmp_path / "d/x.tfrecord")
    (tmp_path / "d/features.json").write_text("[]")
    with pytest.raises(DamagedFileError, match=r"features\.json: expected features"):
        converted(tmp_path / "d", tmp_path / "out", ImportOptions())
    for data in (b"\x0a\x05abc", b"\xff" * 30, b"\x0a\x02\x0a\x7f"):
        other = tmp_path / "y.tfrecord"
        other.write_bytes(framed(data))
        with pytest.raises(DamagedFileError, match=r"episode 0: no tf\.train\.Example|is_first"):
            converted(other, tmp_path / "out", ImportOptions())


def test_no_bytes_crash_the_parser():
    rng = np.random.default_rng(0)
    whole = encoded(episode(3, True, rng))
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            tfrecords.example(bytes(broken[: rng.integers(1, len(broken) + 1)]))


def test_a_reward_of_the_last_observation_is_left_out_with_a_word(tmp_path):
    last = np.array([0, 0, 0, 1], np.float32)
    made = [episode(3, True, RNG, **{"steps/reward": x}) for x in (last, 1 - last)]
    notes = converted(write(tmp_path / "x.tfrecord", made), tmp_path / "d", ImportOptions())
    assert any("1 episodes have a reward with their last observation" in n for n in notes)
    rewards = store.opened(tmp_path / "d").at(np.arange(6))["reward"]
    assert rewards.tolist() == [0, 0, 0, 1, 1, 1]
    both = write(tmp_path / "y.tfrecord", [episode(3, True, RNG, **{"steps/reward": np.ones(8)})])
    with pytest.raises(DamagedFileError, match="steps/reward has 2 numbers a step, expected 1"):
        converted(both, tmp_path / "e", ImportOptions())


def test_splits_are_not_joined_and_long_lists_not_read(tmp_path, monkeypatch):
    for name in ("a-train", "a-test"):
        write(tmp_path / f"d/{name}.tfrecord-00000-of-00001", [episode(3, True, RNG)])
    with pytest.raises(SettingsError, match=r"has the splits a-test\.tfrecord, a-train\.tfrecord"):
        converted(tmp_path / "d", tmp_path / "out", ImportOptions())
    monkeypatch.setattr(tfrecords, "MOST", 3)
    assert tfrecords.varints(b"\1\2\3").tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="a list of more than 3 whole numbers"):
        tfrecords.varints(b"\1\2\3\4")


def test_flags_are_for_every_way_of_reading(tmp_path, capsys):
    made = episode(3, True, RNG)
    del made["steps/is_terminal"]
    path = str(write(tmp_path / "x.tfrecord", [made]))
    assert main.main(["data", "inspect", path]) == 2
    assert "--ends terminated or --ends truncated" in capsys.readouterr().err
    assert main.main(["data", "inspect", path, "--ends", "truncated", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    pytest.importorskip("minari")
    words = ["data", "convert", path, "--to", "minari", "--out", str(tmp_path / "m")]
    assert main.main([*words, "--ends", "terminated"]) == 0
