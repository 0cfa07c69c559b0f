#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Threads that stand apart from event loops and from the threads that run tasks.
enum ComputeThread {
    /// - Parameters:
    ///   - name: as tools show it; what is beyond 15 bytes is cut off, since Linux refuses longer ones.
    /// - Returns: the system's reason when there can be no more threads, else 0.
    static func start(name: String, priority: ComputePoolConfiguration.Priority, _ body: @escaping @Sendable () -> Void) -> Int32 {
        let box = Unmanaged.passRetained(
            Body {
                setName(String(decoding: name.utf8.prefix(15), as: UTF8.self))
                if priority == .idle { standBack() }
                body()
            })
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        #if canImport(Glibc)
            var thread = pthread_t()
        #else
            var thread: pthread_t?
        #endif
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                let argument: UnsafeMutableRawPointer? = argument
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        if error != 0 { box.release() }
        return error
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private static func setName(_ name: String) {
        #if canImport(Darwin)
            pthread_setname_np(name)
        #else
            // Of the functions for this, some are not portable C and others can't be called from Swift.
            let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
            guard file >= 0 else { return }
            _ = name.withCString { write(file, $0, strlen($0)) }
            close(file)
        #endif
    }

    /// For the calling thread alone: on Linux that goes for nice(2) too, see setpriority(2), "C library/kernel differences".
    private static func standBack() {
        #if canImport(Darwin)
            pthread_set_qos_class_self_np(QOS_CLASS_UTILITY, 0)
        #else
            var parameters = sched_param()
            if pthread_setschedparam(pthread_self(), schedIdle, &parameters) != 0 { _ = nice(19) }
        #endif
    }

    /// `SCHED_IDLE` of Linux, which its headers show to GNU C only.
    private static let schedIdle: Int32 = 5
}
