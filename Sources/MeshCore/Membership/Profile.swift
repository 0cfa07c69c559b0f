/// The networks that the times of ``SWIM`` are made for. All members of a mesh have the same.
public enum Profile: String, Hashable, Sendable, CaseIterable {
    /// Machines of one network, a few milliseconds apart. The default.
    case lan
    /// Machines of several sites, up to half a second apart. A death takes some seconds longer to be believed.
    case wan
    /// As `lan`, for processes that stand still for up to 5 s and are to be waited for; it probes less often, too.
    case patient
    /// For tests: everything is over in a moment, and whoever stands still for a third of a second is dead.
    case test
}

extension SWIM.Configuration {
    public init(_ profile: Profile) {
        self.init()
        switch profile {
        case .lan: break
        case .wan:
            probePeriod = .seconds(1)
            (ackTimeoutMin, ackTimeoutMax) = (.milliseconds(500), .seconds(2))
            (suspicionMin, suspicionMax, suspicionAlone) = (.seconds(5), .seconds(30), .seconds(5))
            (suspicionGone, suspicionSilent) = (.seconds(1), .seconds(5))
            gossipInterval = .milliseconds(200)
            // A word and its answer across the world must fit between two.
            (inquiryInterval, pursuitInterval) = (.milliseconds(500), .seconds(1))
            contestTime = .seconds(2)
        case .patient:
            probePeriod = .seconds(1)
            (suspicionMin, suspicionMax, suspicionAlone) = (.seconds(5), .seconds(15), .seconds(5))
            (suspicionSilent, pursuitInterval) = (.seconds(5), .milliseconds(500))
        case .test:
            probePeriod = .milliseconds(50)
            (ackTimeoutMin, ackTimeoutMax) = (.milliseconds(16), .milliseconds(40))
            (suspicionMin, suspicionMax, suspicionAlone) = (.milliseconds(400), .seconds(2), .milliseconds(300))
            (suspicionGone, suspicionSilent) = (.milliseconds(50), .milliseconds(300))
            gossipInterval = .milliseconds(10)
            (inquiryInterval, pursuitInterval) = (.milliseconds(16), .milliseconds(50))
            (syncInterval, seedInterval) = (.milliseconds(200), .seconds(1))
            (reunionInterval, reunionIntervalMax) = (.milliseconds(200), .seconds(2))
            contestTime = .milliseconds(100)
        }
    }
}
