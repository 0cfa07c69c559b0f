internal import CMeshSystem
import Synchronization

/// What other threads want of a loop. They leave it here and ring; the loop looks only when it hears the bell, so no request ever meets the lock.
package final class Mailbox<Letters: Sendable>: Sendable {
    /// Readable when there are letters.
    package let descriptor: Int32
    private let letters: Mutex<Letters>

    /// - Throws: the system's reason when there are no descriptors left.
    package init(_ letters: Letters) throws(SystemError) {
        descriptor = mesh_eventfd()
        self.letters = Mutex(letters)
        guard descriptor >= 0 else { throw SystemError(number: -descriptor) }
    }

    deinit { mesh_close(descriptor) }

    /// - Returns: what `write` says; of use where it may find that nobody reads letters any more.
    @discardableResult
    package func leave<Result: Sendable>(_ write: (inout Letters) -> Result) -> Result {
        let result = letters.withLock { letters in write(&letters) }
        mesh_eventfd_signal(descriptor)
        return result
    }

    /// All letters; `emptied` is what is found by who writes the next.
    package func collect(leaving emptied: Letters) -> Letters {
        mesh_eventfd_clear(descriptor)
        return letters.withLock { letters in
            let collected = letters
            letters = emptied
            return collected
        }
    }
}
