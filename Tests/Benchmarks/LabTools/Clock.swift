import Glibc

/// Everything is stamped with the clock that never steps.
package typealias Instant = ContinuousClock.Instant

extension Instant {
    package static var now: Instant { ContinuousClock.now }

    package func seconds(since earlier: Instant) -> Double { (self - earlier).seconds }
}

extension Duration {
    package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
    package var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}

/// What went wrong, as one line for the person who runs the lab.
package struct LabFailure: Error {
    package let message: String

    package init(_ message: String) { self.message = message }
}

/// Ctrl-C.
package struct Interrupted: Error {}

/// Written by a signal handler, which may do no more than that; read between two waits.
nonisolated(unsafe) private var wasInterrupted: sig_atomic_t = 0

package enum Interruption {
    /// The lab is process 1 of its namespace, which takes only signals that it has asked for.
    package static func listen() {
        for number in [SIGINT, SIGTERM, SIGHUP] { signal(number) { _ in wasInterrupted = 1 } }
        signal(SIGPIPE, SIG_IGN)
    }

    package static func check() throws { if wasInterrupted != 0 { throw Interrupted() } }
}

/// Progress and complaints go to standard error, so that the table can be piped.
package enum Say {
    package static func progress(_ text: String) { put(text + "\n", to: 2) }
    package static func result(_ text: String) { put(text + "\n", to: 1) }

    private static func put(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }
}
