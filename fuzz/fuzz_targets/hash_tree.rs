#![no_main]
use pyrgos_protocol::cryptree::hash_tree::{HashBranch, HashTree};
pyrgos_fuzz::structures!(HashBranch, HashTree);
