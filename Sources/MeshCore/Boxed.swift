/// A value behind a reference, which it is copied with only when it is changed. Where many places each have room for one and few hold any, it
/// takes 8 bytes of those that don't; so an optional one is for what is seldom there.
indirect enum Boxed<Value> {
    case box(Value)

    init(_ value: Value) { self = .box(value) }

    var value: Value {
        get {
            switch self {
            case .box(let value): value
            }
        }
        set { self = .box(newValue) }
    }
}

extension Boxed: Equatable where Value: Equatable {}
extension Boxed: Hashable where Value: Hashable {}
extension Boxed: Sendable where Value: Sendable {}
