/// One application process behind a node, as it registered itself with its agent.
public struct Instance: Hashable, Sendable {
    /// The node whose agent it registered with, in the life it registered in.
    public var node: MemberID
    /// Numbered by that agent, never reused within a life.
    public var number: UInt32
    /// Which application this is; a balancer routes to one service.
    public var service: String
    /// `IP:PORT` or `localhost:PORT` where it answers HTTP, as the balancers are to dial it. They resolve no names: an instance with another
    /// address is listed and not routed to.
    public var address: String
    /// Its share of new visitors among instances, 1 to 100.
    public var weight: UInt8
    /// The name of its session cookie, so that no balancer is told by hand.
    public var cookieName: String

    /// Longest service, address and cookie name, in bytes.
    public static let textBytesMax = 120

    public init(node: MemberID, number: UInt32, service: String, address: String, weight: UInt8 = 1, cookieName: String = "sid") {
        self.node = node
        self.number = number
        self.service = service
        self.address = address
        self.weight = weight
        self.cookieName = cookieName
    }
}
