internal import CMeshSystem
import MeshCore
import MeshLoop

/// A listener of the agent's loop.
final class LoopListener: LoopSource {
    private let driver: AgentDriver
    /// Gets a connection's descriptor, and who is at its other end; nil of a Unix socket.
    private let take: (Int32, Endpoint?) -> Void

    private static let acceptsPerTurn = 64
    /// For as long nothing is accepted when there are no descriptors left. To ask again at once would spin.
    private static let pause = Duration.milliseconds(100)

    init(_ socket: BoundSocket, driver: AgentDriver, take: @escaping (Int32, Endpoint?) -> Void) {
        self.driver = driver
        self.take = take
        super.init(descriptor: socket.descriptor)
    }

    func open() -> Bool { driver.loop.register(self, Poll.readable) }

    override func proceed() {
        var peer = mesh_address()
        for _ in 0..<Self.acceptsPerTurn where isRegistered {
            let accepted = mesh_accept(descriptor, &peer)
            if accepted >= 0 {
                take(accepted, Endpoint(peer))
                continue
            }
            guard !mesh_says_again(Int(accepted)) else { return }
            driver.note(.acceptFailed, "a connection could not be accepted: \(SystemError(number: -accepted))")
            driver.loop.remove(self)
            driver.loop.schedule(after: Self.pause) { [weak self] in
                guard let self, !isClosed else { return }
                _ = open()
            }
            return
        }
    }

    private var isClosed = false

    func close() {
        guard !isClosed else { return }
        isClosed = true
        driver.loop.close(self)
    }
}
