// The types of the core that stand in this module's interface. Scoped, so that an application's own `Member` or `Status` keeps its name.
@_exported public import enum MeshCore.AcknowledgementLevel
@_exported public import struct MeshCore.ChannelMessage
@_exported public import struct MeshCore.ChannelPosition
@_exported public import struct MeshCore.MeshView
@_exported public import struct MeshCore.NodeName
@_exported public import struct MeshCore.PlacementAnswer
@_exported public import struct MeshCore.SessionKey
@_exported public import enum MeshCore.SessionLimits
@_exported public import struct MeshCore.SessionPage
@_exported public import struct MeshCore.SessionSummary
@_exported public import struct MeshCore.Slot
