//! A PostgreSQL server in a temporary folder, from Debian's packages.
//!
//! It listens on a free port of 127.0.0.1, for users with a password, and on a socket in its folder, for everybody. It ends with the
//! process that has started it, however that ends, and its folder with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

/// How often another port is tried if somebody else has taken it meanwhile.
const PORTS: usize = 5;

/// The file that says how far off the clock of a server is.
const CLOCK: &str = "clock";

pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// The library with which its clock can be set.
    clock: Option<PathBuf>,
    /// It stops the server when this process ends, which closes its standard input.
    _guard: Child,
}

impl Server {
    /// The server of this process. The error is that PostgreSQL is missing.
    pub fn shared() -> Result<&'static Self, String> {
        static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
        SERVER.get_or_init(|| Ok(Self::start(programs()?))).as_ref().map_err(Clone::clone)
    }

    /// Starts a server of a test's own, which it may stop.
    pub fn own() -> Result<Self, String> {
        Ok(Self::start(programs()?))
    }

    fn start(programs: PathBuf) -> Self {
        let mut initdb = as_another_user(programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--no-sync"]);
        Self::start_with(programs, initdb)
    }

    /// Starts a server whose clock can be set.
    pub fn with_clock() -> Result<Self, String> {
        let mut server = Self::own()?;
        server.clock = Some(faketime("libfaketime.so.1")?);
        server.set_clock("+0");
        server.stop();
        server.start_again();
        Ok(server)
    }

    /// Sets the clock of a server as far off as `faketime` has it: `-1h`.
    pub fn set_clock(&self, offset: &str) {
        self.write(CLOCK, offset);
    }

    /// Starts a server that hears of each change from this one, a little later.
    pub fn standby(&self) -> Self {
        let mut copy = as_another_user(self.programs.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=fetch", "--no-sync", "--dbname"]);
        copy.arg(self.socket_url("postgres"));
        Self::start_with(self.programs.clone(), copy)
    }

    /// Has a standby hear of all that there is.
    pub fn catch_up(&self, primary: &Self) {
        let position = primary.sql("postgres", "SELECT pg_current_wal_lsn()");
        self.until(&format!("pg_last_wal_replay_lsn() >= '{position}'"));
    }

    /// Has a standby hear of nothing any more.
    pub fn cut_off(&self) {
        self.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.until("count(*) = 0 FROM pg_stat_wal_receiver");
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(self.pg_ctl("promote").arg("--wait"));
    }

    /// Asks until it says so.
    fn until(&self, condition: &str) {
        while self.sql("postgres", &format!("SELECT {condition}")) != "t" {
            thread::yield_now();
        }
    }

    /// Starts a server whose data a program makes.
    fn start_with(programs: PathBuf, mut make_data: Command) -> Self {
        let folder = new_folder();
        run(make_data.arg("--pgdata").arg(folder.join("data")));
        let guard = guard(&programs, &folder);
        let mut server = Self { programs, folder, port: 0, clock: None, _guard: guard };
        let started = (0..PORTS).any(|_| {
            server.port = free_port();
            server.try_start().is_ok()
        });
        assert!(started, "PostgreSQL does not start: {}", server.log());
        server
    }

    /// Starts a server whose data is on a disk of its own, as small as possible. The error is what is missing for that: PostgreSQL, or
    /// the right to mount a file system.
    pub fn on_small_disk() -> Result<Self, String> {
        let programs = programs()?;
        let (folder, port) = (new_folder(), free_port());
        // The outer shell may mount because it is root there, and PostgreSQL does not run as root.
        let mount = "trap '' INT TERM HUP
            mkdir \"$1/data\" && mount -t tmpfs -o size=80m,mode=700 tmpfs \"$1/data\" &&
                unshare --user --map-user=1 --map-group=1 sh -c \"$2\" \"$0\" \"$1\" \"$3\"
            umount \"$1/data\"; rm -rf \"$1\"";
        let start = "
            \"$0/initdb\" --username=postgres --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --no-sync \
                --pgdata \"$1/data\" >\"$1/log\" && \"$0/pg_ctl\" start --pgdata \"$1/data\" --log \"$1/log\" --options \"$2\" >\"$1/log\" &&
                echo started && cat
            \"$0/pg_ctl\" stop --pgdata \"$1/data\" --mode immediate >\"$1/log\"";
        let mut guard = as_another_user("unshare");
        guard.args(["--user", "--mount", "--map-root-user", "sh", "-c", mount]);
        guard
            .arg(&programs)
            .arg(&folder)
            .arg(start)
            .arg(settings(&folder, port) + " -c autovacuum=off -c checkpoint_timeout=1h");
        let mut guard = guard.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.trim() == "started" {
            return Ok(Self { programs, folder, port, clock: None, _guard: guard });
        }
        drop(guard.stdin.take());
        let output = guard.wait_with_output().unwrap();
        Err(format!("there is no disk of its own for a server: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Starts it again after [`stop`](Self::stop).
    pub fn start_again(&self) {
        self.try_start().unwrap_or_else(|problem| panic!("{problem}: {}", self.log()));
    }

    fn try_start(&self) -> Result<String, String> {
        let settings = settings(&self.folder, self.port);
        let mut start = self.pg_ctl("start");
        try_run(start.arg("--wait").arg("--log").arg(self.folder.join("log")).arg("--options").arg(settings))
    }

    /// Stops it as a crash does: connections end at once, and it recovers at its next start.
    pub fn stop(&self) {
        run(self.pg_ctl("stop").args(["--mode", "immediate", "--wait"]));
    }

    fn pg_ctl(&self, command: &str) -> Command {
        let mut pg_ctl = as_another_user("env");
        if let Some(library) = &self.clock {
            let file = self.folder.join("data").join(CLOCK);
            pg_ctl.arg(format!("LD_PRELOAD={}", library.display()));
            pg_ctl.arg(format!("FAKETIME_TIMESTAMP_FILE={}", file.display()));
            pg_ctl.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
        }
        pg_ctl.arg(self.programs.join("pg_ctl")).arg(command).arg("--pgdata").arg(self.folder.join("data"));
        pg_ctl
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a superuser, over the socket.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}&port={}", self.folder.display(), self.port)
    }

    /// Runs SQL as a superuser, and returns what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.sql_at(&self.socket_url(database), sql)
    }

    /// Runs SQL over a URL.
    pub fn sql_at(&self, url: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql]);
        try_run(psql.arg(url)).map(|printed| printed.trim().to_owned())
    }

    /// All that a database has, and all that was ever written to it: a dump, and the statements of its log.
    pub fn written(&self, database: &str) -> Vec<u8> {
        let mut pg_dump = Command::new(self.programs.join("pg_dump"));
        // Of a server that was stopped there is the log.
        let mut written = try_run(pg_dump.arg(self.socket_url(database))).unwrap_or_default();
        let mut is_its = false;
        for line in self.log().split_inclusive('\n') {
            // An entry goes on in lines that are indented.
            is_its = line.strip_prefix(database).map_or(is_its && line.starts_with('\t'), |rest| rest.starts_with(' '));
            written.extend(is_its.then_some(line));
        }
        written.into_bytes()
    }

    /// Starts a pooler before the server. It ends with what is returned.
    pub fn pooler(&self, mode: &str) -> Result<Pooler, String> {
        if !Path::new("/usr/sbin/pgbouncer").exists() {
            return Err("PgBouncer is not installed: apt-get install pgbouncer".to_owned());
        }
        let (folder, port) = (self.folder.display(), free_port());
        let settings = format!(
            "[databases]\n* = host={folder} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            self.port
        );
        let name = format!("pooler-{port}");
        self.write(&name, &settings);
        let script = "/usr/sbin/pgbouncer --quiet \"$0\" & cat; kill $!";
        let mut pooler = as_another_user("sh");
        pooler.args(["-c", script]).arg(self.folder.join("data").join(name)).stdin(Stdio::piped());
        let guard = pooler.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::yield_now();
        }
        Ok(Pooler { port, _guard: guard })
    }

    /// Writes a file that only the server may read into the folder of its data.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.folder.join("data").join(name);
        let mut write = as_another_user("sh");
        write.args(["-c", "umask 077; cat > \"$0.new\" && mv \"$0.new\" \"$0\""]).arg(file);
        let mut writing = write.stdin(Stdio::piped()).spawn().unwrap();
        writing.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writing.wait().unwrap().success());
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }
}

/// A pooler, whose standard input ends with this.
pub struct Pooler {
    pub port: u16,
    _guard: Child,
}

/// The path of a library that, loaded before others, sets the clock of a program.
pub fn faketime(library: &str) -> Result<PathBuf, String> {
    let systems = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut paths = systems.map(|system| system.path().join("faketime").join(library));
    paths.find(|path| path.exists()).ok_or("faketime is not installed: apt-get install faketime".to_owned())
}

fn new_folder() -> PathBuf {
    let folder = run(as_another_user("mktemp").args(["-d", "-t", "bunq-partner-postgres.XXXXXXXXXX"]));
    PathBuf::from(folder.trim())
}

fn settings(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    // What is written is logged too, with the values: see `Server::written`.
    format!(
        "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c max_connections=200 \
         -c log_statement=mod -c log_line_prefix='%d ' -c bytea_output=escape"
    )
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The folder of PostgreSQL's programs, of the newest version.
fn programs() -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter(|folder| folder.join("bin/initdb").exists()).max_by_key(|folder| version(folder));
    let missing = "PostgreSQL is not installed: apt-get install postgresql";
    newest.map(|folder| folder.join("bin")).ok_or_else(|| missing.to_owned())
}

/// A command that does not run as root, which PostgreSQL refuses.
fn as_another_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let is_root = run(Command::new("id").arg("-u")).trim() == "0";
    let mut command = Command::new(if is_root { "setpriv".as_ref() } else { program.as_ref() });
    if is_root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    }
    // Others' folders cannot be read by that user.
    command.current_dir("/");
    command
}

/// A shell that waits for the end of this process, and then removes the server.
fn guard(programs: &Path, folder: &Path) -> Child {
    let script = "trap '' INT TERM HUP; cat; \"$0\" stop --pgdata \"$1/data\" --mode immediate; rm -rf \"$1\"";
    let mut guard = as_another_user("sh");
    guard.args(["-c", script]).arg(programs.join("pg_ctl")).arg(folder);
    guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn run(command: &mut Command) -> String {
    try_run(command).unwrap_or_else(|problem| panic!("{problem}"))
}

fn try_run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
