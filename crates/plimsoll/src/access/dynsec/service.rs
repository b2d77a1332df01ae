//! The model while the broker runs: asked by the engine, changed by commands, kept in its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plimsoll_ledger::{Account, Charge, Ledger};

use super::commands::{Kick, Request, Requester};
use super::file;
use super::model::Model;
use crate::access::options::Options;

/// Clients, groups, roles and ACLs at most, unless told otherwise.
const ENTRIES_MAX: u64 = 100_000;

/// The user that a new file begins with.
const FIRST_USER: &str = "admin";

/// What the options say, read and checked.
#[derive(Debug)]
pub(crate) struct Loaded {
    path: PathBuf,
    /// `None`: there is no file yet, and one is made at the start.
    model: Option<Model>,
    password_file: Option<PathBuf>,
    entries_max: usize,
}

impl Loaded {
    pub(crate) fn load(options: &Options) -> Result<Self, String> {
        let path = PathBuf::from(options.required("config_file")?);
        let model = match fs::exists(&path) {
            Ok(false) => None,
            _ => Some(file::load(&path)?),
        };
        let entries_max = options.number("max_entries", ENTRIES_MAX, 100_000_000)? as usize;
        let password_file = options.text("password_init_file").map(PathBuf::from);
        Ok(Self { path, model, password_file, entries_max })
    }

    /// The file that it is about.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A command, as a client published it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) client_identifier: Box<str>,
    pub(crate) username: Option<Box<str>>,
    pub(crate) payload: Box<[u8]>,
}

/// What is to be done after some commands.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Answers, with the client identifier of whom they are for.
    pub(crate) answers: Vec<(Box<str>, String)>,
    pub(crate) kicks: Vec<Kick>,
    pub(crate) log: Vec<String>,
    /// Why the file could not be written.
    pub(crate) trouble: Option<String>,
}

/// Dynamic security at work.
#[derive(Debug)]
pub(crate) struct Dynsec {
    model: RwLock<Model>,
    path: PathBuf,
    entries_max: usize,
    /// The file has to be written, and could not be so far.
    unsaved: Mutex<bool>,
    charge: Mutex<Charge>,
}

impl Dynsec {
    /// Takes the model in; makes the first file if there is none. Answers what the operator should
    /// read about that.
    pub(crate) fn start(
        loaded: Loaded,
        ledger: &'static Ledger,
    ) -> Result<(Self, Option<String>), String> {
        let Loaded { path, model, password_file, entries_max } = loaded;
        let mut said = None;
        let model = match model {
            Some(model) => model,
            None => {
                let (model, told) = begin(&path, password_file.as_deref())?;
                said = Some(told);
                model
            }
        };
        let charge = Mutex::new(ledger.charge(Account::Admin, model.heap_bytes()));
        let model = RwLock::new(model);
        Ok((Self { model, path, entries_max, unsaved: Mutex::new(false), charge }, said))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The model, for a look.
    pub(crate) fn model(&self) -> RwLockReadGuard<'_, Model> {
        // A panic ends the process, so nobody sees a poisoned lock.
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries commands out, and saves what came of them once. Takes the time of hashes and a disk.
    pub(crate) fn carry_out(&self, commands: &[Command]) -> Done {
        let mut done = Done::default();
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        for command in commands {
            let requester = Requester {
                client_identifier: &command.client_identifier,
                username: command.username.as_deref(),
            };
            let request = Request::read(&command.payload);
            let mut outcome = request.answer(&self.model, self.entries_max, requester);
            *unsaved |= outcome.changed;
            done.answers.push((command.client_identifier.clone(), outcome.response));
            done.kicks.append(&mut outcome.kicks);
            done.log.append(&mut outcome.log);
        }
        done.kicks.sort_unstable();
        done.kicks.dedup();
        if *unsaved {
            let (content, bytes) = {
                let model = self.model();
                (file::print(&model), model.heap_bytes())
            };
            self.charge.lock().unwrap_or_else(PoisonError::into_inner).set(bytes);
            match content.and_then(|content| file::save(&self.path, &content)) {
                Ok(()) => *unsaved = false,
                Err(error) => {
                    done.trouble = Some(format!(
                        "dynsec: unable to write {}: {error}; the change holds until the broker ends, and is written with the next one that can be",
                        self.path.display()
                    ));
                }
            }
        }
        done
    }
}

/// The first model, with its file.
fn begin(path: &Path, password_file: Option<&Path>) -> Result<(Model, String), String> {
    let name = path.display();
    let (password, told) = match (password_file, std::env::var("MOSQUITTO_DYNSEC_PASSWORD")) {
        (Some(given), _) => {
            let text = fs::read_to_string(given)
                .map_err(|error| format!("{}: {error}", given.display()))?;
            let first = text.lines().next().unwrap_or_default().to_owned();
            (first, format!("its password is in {}", given.display()))
        }
        (None, Ok(password)) => (password, "its password is MOSQUITTO_DYNSEC_PASSWORD".into()),
        (None, Err(_)) => {
            let mut random = [0; 18];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system gives no random numbers")?;
            let password = URL_SAFE_NO_PAD.encode(random);
            let mut beside = path.as_os_str().to_owned();
            beside.push(".pw");
            let beside = PathBuf::from(beside);
            file::save(&beside, format!("{password}\n").as_bytes())
                .map_err(|error| format!("{}: {error}", beside.display()))?;
            (password, format!("its password is in {}", beside.display()))
        }
    };
    if password.is_empty() {
        return Err(format!("{name}: the password of its first user must not be empty"));
    }
    let model = file::initial(FIRST_USER, &password).ok_or("the system gives no random numbers")?;
    file::print(&model).and_then(|content| file::save(path, &content)).map_err(|error| {
        format!("{name}: {error}; the broker's user must be able to write there")
    })?;
    Ok((model, format!("dynsec: made {name} with the user {FIRST_USER}; {told}.")))
}
