import Glibc
package import LabTools

/// A socket or pipe that the lab waits for.
package protocol Source: AnyObject {
    /// Negative once it is closed; then it is forgotten.
    var descriptor: Int32 { get }
    /// Whether it has bytes to send that the kernel would not take yet.
    var wantsWrite: Bool { get }
    func isReady(toRead: Bool, toWrite: Bool)
}

/// Everything that the lab waits for, in one thread: what was answered when is then never in doubt.
package final class Loop {
    private let start = Instant.now
    private var sources: [any Source] = []
    private var descriptors: [pollfd] = []

    /// Since the lab began.
    package var now: Duration { Instant.now - start }

    package init() {}

    package func add(_ source: any Source) { sources.append(source) }

    /// Waits until something comes, for so long at most, and hands it on.
    package func turn(_ patience: Duration) throws {
        try Interruption.check()
        sources.removeAll { $0.descriptor < 0 }
        descriptors.removeAll(keepingCapacity: true)
        for source in sources {
            descriptors.append(pollfd(fd: source.descriptor, events: Int16(POLLIN | (source.wantsWrite ? POLLOUT : 0)), revents: 0))
        }
        let time = min(max(patience, .milliseconds(1)), Self.patienceMax)
        guard poll(&descriptors, nfds_t(descriptors.count), Int32(time.milliseconds)) > 0 else { return }
        // Whoever is told may open and close others; those that were open before stand where they stood.
        for (index, ready) in descriptors.enumerated() where ready.revents != 0 && sources[index].descriptor == ready.fd {
            let isOver = ready.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0
            sources[index].isReady(toRead: isOver || ready.revents & Int16(POLLIN) != 0, toWrite: ready.revents & Int16(POLLOUT) != 0)
        }
    }

    /// Ctrl-C is looked at in between.
    private static let patienceMax = Duration.milliseconds(100)
}

/// A pipe that a program of the lab writes lines to.
package final class LineSource: Source {
    /// Held until its last line is read.
    private let child: Child
    private let reader: ReferenceWritableKeyPath<Child, LineReader>
    private let take: (ArraySlice<UInt8>) -> Void

    package init(_ child: Child, _ reader: ReferenceWritableKeyPath<Child, LineReader>, _ take: @escaping (ArraySlice<UInt8>) -> Void) {
        self.child = child
        self.reader = reader
        self.take = take
    }

    package var descriptor: Int32 { child[keyPath: reader].isAtEnd ? -1 : child[keyPath: reader].descriptor }
    package var wantsWrite: Bool { false }

    package func isReady(toRead: Bool, toWrite: Bool) {
        var lines: [ArraySlice<UInt8>] = []
        child[keyPath: reader].read { lines.append($0) }
        lines.forEach(take)
    }
}
