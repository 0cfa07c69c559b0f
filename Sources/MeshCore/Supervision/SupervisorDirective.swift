/// What a supervisor's core is told.
public enum SupervisorInput: Hashable, Sendable {
    case start
    case spawned(Launch, pid: Int32)
    case notSpawned(Launch, reason: String)
    /// It says so itself, or answers on its port.
    case ready(Launch)
    case heartbeat(Launch)
    /// How much it uses, as far as that is known.
    case usage(Launch, memory: UInt64?, requests: UInt64?)
    /// Its process is no more; what it has left behind is being looked for.
    case exited(Launch)
    /// Its process is no more, nor anything that it started. `leftBehind` counts processes that outlived it.
    case ended(Launch, ProcessEnding, leftBehind: Int, lastLines: [String])
    /// What is known of a process that was to be killed for not being ready.
    case diagnosed(Launch, hint: String?)
    case scale(to: Int)
    /// Replaces all workers, one after the other.
    case restart
    case stop
    /// The supervisor itself had stood still for as long, as in a container that is paused.
    case resumed(after: Duration)
    /// Nothing but time has passed.
    case tick
}

/// What a supervisor's core wants done.
public enum SupervisorDirective: Hashable, Sendable {
    case spawn(Launch, Post)
    /// Make it known to balancers as an instance.
    case register(Launch)
    /// Take it out of their view.
    case withdraw(Launch)
    /// Find out why it isn't ready, and answer with `diagnosed`.
    case diagnose(Launch)
    case signal(Launch, Signal)
    case tell(SupervisorEvent)
    /// Nothing runs any more.
    case finish(Outcome)

    public enum Signal: Hashable, Sendable {
        case terminate
        case abort
        case kill
    }

    public enum Outcome: Hashable, Sendable {
        /// It was asked to stop, or every worker has ended on purpose.
        case stopped
        /// A sidecar, without which nothing can be done, did not come up. It has said why on standard error.
        case failed(sidecar: String, Crash)
    }
}
