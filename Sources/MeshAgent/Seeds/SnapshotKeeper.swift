import Logging
import MeshCore
import NIOPosix

/// Writes the snapshot when the view has changed, off the agent's thread, and once more when the agent leaves.
///
/// On the agent's thread, like the doors.
final class SnapshotKeeper {
    private let driver: AgentDriver
    private let file: SnapshotFile
    /// Of the view that was last written, or is being.
    private var epoch: UInt64?
    private var isUnderWay = false
    private var isFailing = false
    private var isClosed = false

    /// At most so much is forgotten in a crash, and a mesh that changes all the time costs a disk no more than that.
    private static let interval = Duration.seconds(5)

    init(driver: AgentDriver, file: SnapshotFile) {
        self.driver = driver
        self.file = file
    }

    func start() {
        driver.loop.schedule(after: Self.interval) { [weak self] in
            guard let self, !isClosed else { return }
            write()
            start()
        }
    }

    /// Before the process ends in order: what it knew last is on the disk when this returns.
    func finish() {
        guard !isClosed else { return }
        isClosed = true
        wrote(file.write(driver.view, of: driver.id.name))
    }

    func close() { isClosed = true }

    private func write() {
        let view = driver.view
        guard !isUnderWay, view.epoch != epoch else { return }
        isUnderWay = true
        epoch = view.epoch
        NIOThreadPool.singleton.submit { [file, executor = driver.executor, observer = driver.id.name] _ in
            let failure = file.write(view, of: observer)
            executor.execute { $0.snapshot?.wrote(failure) }
        }
    }

    private func wrote(_ failure: String?) {
        isUnderWay = false
        if let failure {
            epoch = nil
            if !isFailing { driver.logger.warning("the snapshot \(file.path) can't be written: \(failure); it is tried again and again") }
        } else if isFailing {
            driver.logger.notice("the snapshot \(file.path) is written again")
        }
        isFailing = failure != nil
    }
}
