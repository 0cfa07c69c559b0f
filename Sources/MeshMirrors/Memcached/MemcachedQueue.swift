#if Memcached
    import DequeModule
    import MeshCore
    import NIOConcurrencyHelpers
    import NIOCore

    /// The calls that wait for a thread.
    final class MemcachedQueue: @unchecked Sendable {
        // @unchecked: `jobs` and `phase` are only touched under `condition`.

        struct Job: Sendable {
            let deadline: NIODeadline
            let run: @Sendable (MemcachedServers) -> Void
            let fail: @Sendable (MirrorError) -> Void
        }

        enum Phase {
            /// Jobs wait for the threads to start. Can transition to running.
            case new
            /// Can transition to stopped.
            case running
            /// No job is taken. Can transition to running.
            case stopped
        }

        /// Most calls that wait. What two threads can't do within a command timeout is better refused at once.
        static let jobsMax = 1024

        /// True while there is something for a thread to do, or it must end.
        private let condition = ConditionLock(value: false)
        private var jobs = Deque<Job>()
        private var phase = Phase.new

        /// Puts the job at the end of the queue, or lets it fail.
        func submit(_ job: Job) {
            condition.lock()
            let error: MirrorError? =
                if phase == .stopped {
                    MirrorError(.unreachable, "the mirror in memcached is not running")
                } else if jobs.count >= Self.jobsMax {
                    MirrorError(.timedOut, "\(Self.jobsMax) calls are waiting for memcached already")
                } else {
                    nil
                }
            if error == nil { jobs.append(job) }
            condition.unlock(withValue: phase == .stopped || (phase == .running && !jobs.isEmpty))
            if let error { job.fail(error) }
        }

        func start() {
            condition.lock()
            phase = .running
            condition.unlock(withValue: !jobs.isEmpty)
        }

        /// Lets all threads end after the job they are at, and those that wait fail.
        func stop() {
            condition.lock()
            phase = .stopped
            let rest = jobs
            jobs = []
            condition.unlock(withValue: true)
            for job in rest { job.fail(MirrorError(.unreachable, "the mirror in memcached is not running any more")) }
        }

        /// Does jobs, one after the other, until the queue is stopped. A thread is in here for as long as that takes.
        func work(on servers: MemcachedServers) {
            while let job = next() {
                // Who waited for it has been told.
                guard .now() < job.deadline else { continue }
                servers.deadline = job.deadline
                job.run(servers)
            }
        }

        private func next() -> Job? {
            condition.lock(whenValue: true)
            let job = phase == .running ? jobs.popFirst() : nil
            condition.unlock(withValue: phase == .stopped || !jobs.isEmpty)
            return job
        }
    }
#endif
