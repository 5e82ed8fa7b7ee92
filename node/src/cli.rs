//! The command line: arguments in, exit code out.
//!
//! One file per group of commands. Each command prints for people, or with `--json` one JSON value a line for programs,
//! and ends with an exit code of [`failure::Kind`].

pub mod account;
pub mod blocking;
pub mod browse;
pub mod change;
pub mod deletion;
pub mod failure;
pub mod groups;
mod home_node;
mod link;
pub mod messages;
mod mirror;
mod names;
mod node;
mod operator;
pub mod output;
mod peers;
pub mod profile;
pub mod progress;
pub mod publish;
mod readable;
pub mod secret;
pub mod session;
pub mod social;
pub mod target;
mod token;
pub mod transfer;
pub mod unshare;
pub mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::agent::{AgentFolder, client::Agent, server};
use failure::{EXIT_CODES, Failure};
use session::Global;

/// Private storage that belongs to its user
///
/// Files, names and folders are encrypted on this machine before they leave it; the server stores opaque blocks.
#[derive(Parser, Debug)]
#[command(name = "pyrgos", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node
    Node(Box<node::NodeArgs>),
    Peers(peers::PeersArgs),
    /// Show the names of the network, and how far its decisions are
    #[command(subcommand)]
    Names(names::NamesCommand),
    /// Keep copies of accounts that live on other nodes, and let others keep one of yours
    #[command(subcommand)]
    Mirror(mirror::MirrorCommand),
    /// Move your account to the node that you are logged in at, with the help of its present home
    ///
    /// Log in at the node that shall be the home, with --server, and give this command. Nothing changes if it fails.
    Migrate,
    /// Make the node that you are logged in at, which mirrors your account, its home; the present home may be gone
    ///
    /// What only the present home has is not there. If it comes back, it steps aside.
    Promote,
    /// Make tokens that let people sign up on a node of this machine
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Read and answer messages of the users of a node of this machine
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    #[command(name = "signup")]
    SignUp(account::SignUpArgs),
    Login(account::LoginArgs),
    Logout(account::LogoutArgs),
    /// Say who is logged in, and where
    Whoami,
    Passwd(account::PasswdArgs),
    Ls(browse::LsArgs),
    Tree(browse::TreeArgs),
    Stat(browse::StatArgs),
    Mkdir(change::MkdirArgs),
    Put(transfer::PutArgs),
    Get(transfer::GetArgs),
    Cat(transfer::CatArgs),
    Rm(change::RmArgs),
    Mv(change::MvArgs),
    Cp(change::CpArgs),
    /// Show how much space the account uses and may use
    Space,
    Du(usage::DuArgs),
    /// Show the token with which a mirror can copy your account
    MirrorToken,
    DeleteAccount(deletion::DeleteAccountArgs),
    Follow(social::FollowArgs),
    /// Show who asks to follow you
    Requests,
    Accept(social::AcceptArgs),
    Deny(social::DenyArgs),
    Unfollow(social::UnfollowArgs),
    /// Show whom you follow, who follows you, and whom you asked
    Friends,
    Followers(unshare::FollowersArgs),
    /// Show the groups with which you can share, and who is in them
    Groups,
    Block(blocking::BlockArgs),
    Unblock(blocking::UnblockArgs),
    /// Show whom you blocked or unfollowed
    Blocked,
    Verify(social::VerifyArgs),
    /// Show and change what you tell about yourself
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    Share(social::ShareArgs),
    Unshare(unshare::UnshareArgs),
    Shares(social::SharesArgs),
    /// Show what others share with you; the paths work in ls, tree, stat, get, cat and cp
    SharedWithMe,
    #[command(subcommand)]
    Link(link::LinkCommand),
    Publish(publish::PublishArgs),
    Unpublish(publish::UnpublishArgs),
    Messages(messages::MessagesArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Agent(AgentArgs),
}

/// Print completions for a shell
///
/// For bash: pyrgos completions bash > ~/.local/share/bash-completion/completions/pyrgos
#[derive(Args, Debug)]
struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Hold sessions in memory; `pyrgos login` starts it
#[derive(Args, Debug)]
struct AgentArgs {
    /// Where to listen [default: $XDG_RUNTIME_DIR/pyrgos]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// End after this many seconds without a command
    #[arg(long, value_name = "SECONDS", default_value_t = 8 * 60 * 60)]
    idle_secs: u64,
    /// End the running agent; all sessions are forgotten
    #[arg(long)]
    stop: bool,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "pyrgos", &mut std::io::stdout());
            Ok(())
        }
        Command::Agent(args) => run_agent(&global, args),
        Command::Node(args) => node::run(*args, global.output()),
        Command::Peers(args) => peers::run(args, global.output()),
        Command::Names(command) => names::run(command, global.output()),
        Command::Mirror(command) if !command.needs_session() => mirror::run(command, global.output()),
        Command::Token(command) => token::run(command, global.json),
        Command::Operator(command) => operator::run(command, global.output()),
        command => {
            crate::native::protect_memory();
            crate::native::block_on(async {
                match command {
                    Command::SignUp(args) => account::sign_up(&global, args).await,
                    Command::Login(args) => account::log_in(&global, args).await,
                    Command::Logout(args) => account::log_out(&global, &args),
                    Command::Whoami => account::who_am_i(&global),
                    Command::Passwd(args) => account::change_password(&global, args).await,
                    Command::Ls(args) => browse::list(&global, args).await,
                    Command::Tree(args) => browse::tree(&global, args).await,
                    Command::Stat(args) => browse::stat(&global, args).await,
                    Command::Mkdir(args) => change::make_folders(&global, args).await,
                    Command::Put(args) => transfer::put(&global, args).await,
                    Command::Get(args) => transfer::get(&global, args).await,
                    Command::Cat(args) => transfer::cat(&global, args).await,
                    Command::Rm(args) => change::remove(&global, args).await,
                    Command::Mv(args) => change::move_to(&global, args).await,
                    Command::Cp(args) => change::copy(&global, args).await,
                    Command::Space => account::space(&global).await,
                    Command::Du(args) => usage::usage(&global, args).await,
                    Command::Mirror(command) => mirror::run_for_owner(&global, command).await,
                    Command::Migrate => home_node::migrate(&global).await,
                    Command::Promote => home_node::promote(&global).await,
                    Command::MirrorToken => usage::mirror_token(&global).await,
                    Command::DeleteAccount(args) => deletion::delete_account(&global, args).await,
                    Command::Block(args) => blocking::block(&global, args).await,
                    Command::Unblock(args) => blocking::unblock(&global, args).await,
                    Command::Blocked => blocking::blocked(&global).await,
                    Command::Profile(command) => profile::run(&global, command).await,
                    Command::Follow(args) => social::follow(&global, args).await,
                    Command::Requests => social::requests(&global).await,
                    Command::Accept(args) => social::accept(&global, args).await,
                    Command::Deny(args) => social::deny(&global, args).await,
                    Command::Unfollow(args) => social::unfollow(&global, args).await,
                    Command::Friends => social::friends(&global).await,
                    Command::Followers(args) => unshare::followers(&global, args).await,
                    Command::Groups => groups::groups(&global).await,
                    Command::Verify(args) => social::verify(&global, args).await,
                    Command::Share(args) => social::share(&global, args).await,
                    Command::Unshare(args) => unshare::unshare(&global, args).await,
                    Command::Shares(args) => social::shares(&global, args).await,
                    Command::Link(command) => link::run(&global, command).await,
                    Command::Publish(args) => publish::publish(&global, args).await,
                    Command::Unpublish(args) => publish::unpublish(&global, args).await,
                    Command::SharedWithMe => social::shared_with_me(&global).await,
                    Command::Messages(args) => messages::run(&global, args).await,
                    Command::Completions(_)
                    | Command::Agent(_)
                    | Command::Node(_)
                    | Command::Peers(_)
                    | Command::Names(_)
                    | Command::Token(_)
                    | Command::Operator(_) => Ok(()),
                }
            })
        }
    }
}

fn run_agent(global: &Global, args: AgentArgs) -> Result<(), Failure> {
    let folder = args.folder.map_or_else(AgentFolder::of_this_user, AgentFolder::at);
    if args.stop {
        let stopped = Agent::new(folder).stop()?;
        let text = if stopped { "the agent has ended" } else { "no agent was running" };
        global.output().line(text, &json!({ "stopped": stopped }));
        return Ok(());
    }
    Ok(server::run(&folder, Duration::from_secs(args.idle_secs.max(1)))?)
}
