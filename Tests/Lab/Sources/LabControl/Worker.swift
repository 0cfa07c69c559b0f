import Foundation
import Synchronization

/// A thread that can be waited for. Sockets here block, which no thread of the pool may.
final class Worker: Sendable {
    private let done = DispatchSemaphore(value: 0)

    init(_ body: @escaping @Sendable () -> Void) {
        let thread = Thread { [done] in
            body()
            done.signal()
        }
        thread.start()
    }

    func join() { done.wait() }
}

/// A value that several threads change.
public final class Guarded<Value: Sendable>: Sendable {
    private let storage: Mutex<Value>

    public init(_ value: Value) { storage = Mutex(value) }

    public var value: Value { storage.withLock { $0 } }

    public func change(_ body: (inout Value) -> Void) {
        // A copy, as what a lock gives out may not be handed to a closure from elsewhere.
        storage.withLock { value in
            var copy = value
            body(&copy)
            value = copy
        }
    }
}
