//! Limits that a system sets, for real: full disks, a limit on the size of files, permissions, large states; and what an
//! interrupted program left.

use std::fs;
use std::process::Command;

use crate::subject::{Pair, Subject, show, state};
use crate::{Done, Tally, run, scratch};

/// A limit that the second of three creates meets.
struct Limit {
    name: &'static str,
    /// What is mounted at `$1`.
    mount: &'static str,
    /// What is done in `$1` before the second create.
    before: &'static str,
    /// What runs the second create.
    by: &'static str,
    /// What is done after it.
    after: &'static str,
    /// The size of its state in bytes.
    size: usize,
    /// What this store exits with then.
    code: i32,
}

const ROOMY: &str = "mount -t tmpfs -o size=64m none $1";

const LIMITS: [Limit; 8] = [
    Limit {
        name: "a full disk, of a state that does not fit",
        mount: "mount -t tmpfs -o size=256k none $1",
        before: "",
        by: "",
        after: "",
        size: 400_000,
        code: 7,
    },
    Limit {
        name: "a full disk, of a state that would fit elsewhere",
        mount: "mount -t tmpfs -o size=256k none $1",
        before: "head -c 1048576 /dev/zero > $1/filler 2>/dev/null || true",
        by: "",
        after: "rm $1/filler",
        size: 60,
        code: 7,
    },
    Limit {
        name: "a disk without inodes",
        mount: "mount -t tmpfs -o nr_inodes=12 none $1",
        before: "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do touch $1/filler$i || break; done 2>/dev/null",
        by: "",
        after: "rm $1/filler*",
        size: 60,
        code: 7,
    },
    Limit {
        name: "a limit on the size of files",
        mount: ROOMY,
        before: "",
        // In blocks of 512 bytes. Whoever does not ask for it gets an error, and no signal.
        by: "trap '' XFSZ; ulimit -f 400;",
        after: "",
        size: 1_000_000,
        code: 10,
    },
    Limit {
        name: "a file system that became read-only",
        mount: ROOMY,
        before: "mount -o remount,ro $1",
        by: "",
        after: "mount -o remount,rw $1",
        size: 60,
        code: 8,
    },
    Limit {
        name: "permission that was taken away",
        mount: ROOMY,
        before: "chmod 500 $1",
        by: "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all",
        after: "chmod 700 $1",
        size: 60,
        code: 8,
    },
    Limit { name: "a state of 3 MB", mount: ROOMY, before: "", by: "", after: "", size: 3_000_000, code: 0 },
    Limit {
        name: "longer temporaries that an interrupted program left",
        mount: ROOMY,
        before: "for name in $(cat $2/temporaries); do mkdir -p $(dirname $1/$name); cp $2/long $1/$name; done",
        by: "",
        after: "",
        size: 60,
        code: 0,
    },
];

/// Meets each limit with the second of three creates.
///
/// # Panics
///
/// If a limit cannot be set here: it needs a user namespace in which one may mount.
pub fn limits(subject: Subject) -> Tally {
    let mut tally = Tally::default();
    for limit in &LIMITS {
        tally.add(limit.name, meet(subject, limit));
    }
    tally
}

fn meet(subject: Subject, limit: &Limit) -> Result<(), String> {
    let root = scratch();
    let (dir, files) = (root.path().join("dir"), root.path().join("files"));
    fs::create_dir(&dir).and_then(|()| fs::create_dir(&files)).expect("the scratch folder can be written");
    let pair = |seq| Some((state(seq, if seq == 2 { limit.size } else { 60 }), seq));
    for seq in 1..=3 {
        fs::write(files.join(seq.to_string()), pair(seq).expect("a pair").0).expect("written");
    }
    fs::write(files.join("long"), format!("7{}", "9".repeat(1000))).expect("written");
    let temporaries = if subject.layout_name() == "pair" {
        "snapshot.json.tmp snapshot.seq.tmp snapshot.json.new snapshot.seq.new snapshot.sum.new".to_owned()
    } else {
        format!("{}.tmp .tmpa1B2c3", subject.state_file(2))
    };
    fs::write(files.join("temporaries"), temporaries).expect("written");

    let create = |seq: u64| shell(&subject.create(&dir, seq));
    let restore = shell(&subject.restore(&dir));
    let (Limit { mount, before, by, after, .. }, [one, two, three]) = (limit, [1, 2, 3].map(create));
    let note = |what: &str, command: &str| {
        format!("code=0; ({command}) >$2/{what}.out 2>$2/{what}.err || code=$?; echo $code > $2/{what}.code")
    };
    let script = [
        "set -e".to_owned(),
        (*mount).to_owned(),
        format!("{one} < $2/1"),
        (*before).to_owned(),
        note("second", &format!("{by} {two} < $2/2")),
        note("meanwhile", &format!("{by} {restore}")),
        (*after).to_owned(),
        note("restored", &restore),
        note("third", &format!("{three} < $2/3")),
        note("again", &restore),
    ];
    let mut namespace = Command::new("unshare");
    namespace.args(["-rm", "sh", "-c", &script.join("\n"), "sh"]).arg(&dir).arg(&files);
    let ran = run(&mut namespace, "");
    assert_eq!(ran.code, Some(0), "{}: {ran:?}", limit.name);

    let done = |what: &str| {
        let read = |end| fs::read_to_string(files.join(format!("{what}.{end}"))).expect("it was noted");
        Done { code: read("code").trim().parse().ok(), stdout: read("out"), stderr: read("err") }
    };
    let second = done("second");
    let expected: Pair = pair(if second.code == Some(0) { 2 } else { 1 });
    // While the limit holds, and after it.
    for when in ["meanwhile", "restored"] {
        let restored = subject.restored(&done(when))?;
        if restored != expected {
            let (code, restored) = (second.code, show(&restored));
            return Err(format!("exit code {code:?}, {when} {restored}: {}", second.stderr.trim()));
        }
    }
    if subject.is_ours() && second.code != Some(limit.code) {
        return Err(format!("{second:?} in the place of {}", limit.code));
    }
    let third = done("third");
    if third.code != Some(0) {
        return Err(format!("the next create: {third:?}"));
    }
    match subject.restored(&done("again"))? {
        again if again == pair(3) => Ok(()),
        again => Err(format!("restored {} after the next create", show(&again))),
    }
}

/// A command as a shell takes it.
fn shell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8").replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}
