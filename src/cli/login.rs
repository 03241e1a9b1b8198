//! `octobundle login` and `octobundle logout`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Host, Repository};
use octobundle::registry::{Credential, CredentialStore, Found, Kept, LoginAnswer, LoginFile, Registry, Secret};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job, SHORT_CONNECT};
use crate::cli::exit::Outcome;
use crate::cli::input::usage;
use crate::cli::logins::{login_store, login_target};
use crate::cli::prompt;
use crate::cli::registry_args::RegistryArgs;

/// Keep a login for a registry, where docker keeps it too
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle login docker.io --username jo
  octobundle login reg.corp:5000 --username 'robot$ci' --password-stdin < token

The login is tried before it is kept. It goes to docker's credential helper if one is configured, else into docker's
config.json, so that docker and podman use it too.")]
pub(crate) struct LoginArgs {
    /// The registry, as in image names
    #[arg(value_name = "HOST[:PORT]")]
    registry: String,
    /// The user's name; asked for if it is not given
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password or token from standard input; else it is asked for, unseen
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    args: RegistryArgs,
}

/// Forget a registry's login
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle logout reg.corp:5000")]
pub(crate) struct LogoutArgs {
    /// The registry, as in image names
    #[arg(value_name = "HOST[:PORT]")]
    registry: String,
    /// Forget it in this file instead of docker's
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

#[derive(Serialize)]
struct LoginReport {
    registry: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    helper: Option<String>,
    /// Whether the registry asked for the login and took it.
    tried: bool,
}

#[derive(Serialize)]
struct LogoutReport {
    registry: String,
    file: String,
    forgotten: bool,
}

impl LoginArgs {
    /// Tries the login and keeps it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let host = parse_host(&self.registry)?;
        let file = target_file(self.args.authfile.as_deref(), context)?;
        let (user, password, origin) = self.ask()?;
        let tried = self.tried(context, &host, &user, &password, origin).await?;
        let kept = tokio::task::block_in_place(|| file.keep(&host, &user, &password))?;
        let path = file.path().display().to_string();
        if tried == LoginAnswer::NotAsked {
            context.output.note(&format!(
                "warning: `{host}` answers without a login, so nobody knows whether this one is right\n"
            ));
        }
        let helper = match kept {
            Kept::Helper(name) => Some(name),
            Kept::Plainly => {
                context.output.note(&format!(
                    "warning: the password stands in {path} in base64, which is no protection; set `credsStore` there to keep logins in a credential helper\n"
                ));
                None
            }
        };
        let place = helper.as_ref().map_or_else(|| path.clone(), |name| format!("the credential helper `{name}`"));
        let text = format!("logged in to {host} as {user}; the login is in {place}\n");
        let report =
            LoginReport { registry: host.to_string(), file: path, helper, tried: tried == LoginAnswer::Accepted };
        context.output.result("login", report, &text)?;
        self.tell_if_hidden(context, &host, &file)?;
        Ok(Outcome::Done)
    }

    fn ask(&self) -> Result<(String, Secret, &'static str), Failure> {
        let somebody = prompt::can_ask();
        let help = "give both: `octobundle login HOST --username NAME --password-stdin < FILE`";
        let user = match &self.username {
            Some(user) => user.clone(),
            None if somebody && !self.password_stdin => prompt::ask("user name: ")?,
            None => return Err(usage("no user was named, and there is no terminal to ask on", help)),
        };
        let (password, origin) = match (self.password_stdin, somebody) {
            (true, _) => (prompt::password_from_stdin()?, "standard input"),
            (false, true) => {
                (prompt::ask_hidden(&format!("password or token of {user} (not shown): "))?, "the terminal")
            }
            (false, false) => return Err(usage("there is no terminal to ask for the password on", help)),
        };
        if user.is_empty() || password.reveal().is_empty() {
            return Err(usage("the user's name or the password is empty", help));
        }
        if user.contains(':') || user.chars().any(char::is_control) {
            return Err(usage(
                "the user's name holds a colon or a control character, which HTTP cannot carry",
                "check `--username`",
            ));
        }
        Ok((user, password, origin))
    }

    async fn tried(
        &self,
        context: &Context,
        host: &Host,
        user: &str,
        password: &Secret,
        origin: &str,
    ) -> Result<LoginAnswer, Failure> {
        let access = Access::new(&self.args, None, None, &context.environment)?;
        let mut settings = access.settings(context, &Job { named: Some(host.clone()), ..Job::default() })?;
        let credential = Credential::Basic { user: user.to_owned(), password: password.clone() };
        settings.credentials = Arc::new(Typed(Found { credential, origin: origin.to_owned() }));
        settings.limits.connect = SHORT_CONNECT;
        let answer = Registry::new(settings, context.progress())?.try_login(host).await;
        answer.map_err(|failure| {
            let failure = failure.within(format!("the login for `{host}` was not kept"));
            if failure.class() != ErrorClass::Access {
                return failure;
            }
            if user == "robot" {
                return failure.with_help(
                    "`robot` looks cut: the shell replaces what follows a `$`; write it in single quotes, as in `--username 'robot$ci'`",
                );
            }
            failure.with_help(format!(
                "check name and password and try again: `octobundle login {host} --username {user}`; it was tried once only, since registries lock accounts"
            ))
        })
    }

    /// Says if another file is asked first and has another login.
    fn tell_if_hidden(&self, context: &Context, host: &Host, file: &LoginFile) -> Result<(), Failure> {
        if self.args.authfile.is_some() {
            let file = file.path().display();
            context.output.note(&format!("use it with `--authfile {file}`, or set REGISTRY_AUTH_FILE to that file\n"));
            return Ok(());
        }
        let Some(found) = still_found(context, host)? else { return Ok(()) };
        if !found.origin.contains(&format!("`{}`", file.path().display())) {
            context.output.note(&format!("warning: another login for `{host}` comes first: {}\n", found.origin));
        }
        Ok(())
    }
}

impl LogoutArgs {
    /// Forgets the login.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let host = parse_host(&self.registry)?;
        let file = target_file(self.authfile.as_deref(), context)?;
        let forgotten = tokio::task::block_in_place(|| file.forget(&host))?;
        let path = file.path().display().to_string();
        let text = if forgotten {
            format!("the login for {host} is forgotten\n")
        } else {
            format!("there was no login for {host} in {path}\n")
        };
        let report = LogoutReport { registry: host.to_string(), file: path, forgotten };
        context.output.result("logout", report, &text)?;
        if self.authfile.is_none()
            && let Some(found) = still_found(context, &host)?
        {
            context.output.note(&format!("warning: there is still a login for `{host}`: {}\n", found.origin));
        }
        Ok(Outcome::Done)
    }
}

/// The login that a run would use for `host` now.
fn still_found(context: &Context, host: &Host) -> Result<Option<Found>, Failure> {
    let files = crate::cli::logins::login_files(None, &context.environment);
    let any = Repository { host: host.clone(), name: "any".parse().expect("a word is a repository's name") };
    tokio::task::block_in_place(|| login_store(files, &context.environment).lookup(&any))
}

fn target_file(flag: Option<&Path>, context: &Context) -> Result<LoginFile, Failure> {
    let target = login_target(flag, &context.environment)
        .ok_or_else(|| usage("there is no home folder to keep a login in", "name a file: `--authfile FILE`"))?;
    Ok(LoginFile::new(target.value, context.environment.program_folders()))
}

fn parse_host(text: &str) -> Result<Host, Failure> {
    text.parse().map_err(|error| usage(format!("{error}"), "name the registry as in image names: `reg.corp:5000`"))
}

/// Knows the login that is being tried, and no other.
struct Typed(Found);

impl CredentialStore for Typed {
    fn lookup(&self, _: &Repository) -> Result<Option<Found>, Failure> {
        Ok(Some(self.0.clone()))
    }
}
