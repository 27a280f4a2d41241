//! The moments at which hooks run.

word_enum! {
    /// A moment in a container's life at which `lxc.hook.*` commands run, in the order of a life.
    Hook, "a hook" {
        /// On the host, before anything of the container exists.
        PreStart = "pre-start",
        /// In the container's namespaces, before its root file system is mounted.
        PreMount = "pre-mount",
        /// After the mounts, before the change of root.
        Mount = "mount",
        /// After `/dev` is filled, before the change of root.
        Autodev = "autodev",
        /// On the host, when the namespaces stand and before init runs.
        StartHost = "start-host",
        /// In the container, right before init.
        Start = "start",
        /// On the host, when init has ended, with the container's namespaces at hand.
        Stop = "stop",
        /// On the host, when all of the container is gone.
        PostStop = "post-stop",
        /// On the host, when the container is copied.
        Clone = "clone",
        /// On the host, when the container is destroyed.
        Destroy = "destroy",
    }
}
