/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one list of refusals, an X-macro that daemon and client share:
 *
 *   X(CODE, NAME, ERRNO, EXIT_STATUS, REMEDY)
 *
 * NAME follows "org.vfiod1.Error." on the bus. ERRNO is what C callers get. EXIT_STATUS is that of vfioctl: 1
 * is any other failure, 2 wrong usage, 3 an unreachable daemon; 10 and up are these rows and never change
 * their meaning. REMEDY is shown after the reason, unless its cause has another remedy; "": none, because the
 * reason says what is expected. */

#define VFIOD_ERROR_TABLE(X)                                                                                 \
    X(INVALID_NAME, "InvalidName", EINVAL, 10,                                                               \
            "Write it like pci:0000:06:0d.0, mdev:UUID, vdpa:NAME or platform:NAME. 'vfioctl list' shows "   \
            "the devices.")                                                                                  \
    X(INVALID_ARGUMENT, "InvalidArgument", EINVAL, 11, "")                                                   \
    X(UNKNOWN_OPTION, "UnknownOption", EINVAL, 12,                                                           \
            "org.vfiod1(5) and org.vfiod.Broker(5) describe the options of this version.")                   \
    X(TOO_MANY_DEVICES, "TooManyDevices", E2BIG, 13, "Make several smaller claims.")                         \
    X(NO_SUCH_DEVICE, "NoSuchDevice", ENODEV, 14, "'vfioctl list' shows the devices of this host.")          \
    X(NO_SUCH_GROUP, "NoSuchGroup", ENOENT, 15, "'vfioctl list --groups' shows the groups of this host.")    \
    X(NO_SUCH_CLAIM, "NoSuchClaim", ENOENT, 16, "'vfioctl status' shows the claims.")                        \
    X(ACCESS_DENIED, "AccessDenied", EACCES, 17,                                                             \
            "Only the operator can change that: a rule in /etc/vfiod/policy.d must allow it, see "           \
            "vfiod-policy(5).")                                                                              \
    X(POLICY_BROKEN, "PolicyBroken", EACCES, 18,                                                             \
            "The operator must fix the policy files ('vfioctl status' lists the errors) and reload.")        \
    X(NOT_OWNER, "NotOwner", EPERM, 19, "Only the owner of a claim and root may do this.")                   \
    X(DEVICE_CLAIMED, "DeviceClaimed", EBUSY, 20,                                                            \
            "Wait for the claim to end ('vfioctl exec --wait'), or ask its owner. 'vfioctl status' shows "   \
            "the claims and their owners.")                                                                  \
    X(DEVICE_QUARANTINED, "DeviceQuarantined", EBUSY, 21,                                                    \
            "The operator must look at it: 'vfioctl quarantine list' shows the reason, 'vfioctl quarantine " \
            "retry DEVICE' resets and restores it once more.")                                               \
    X(GROUP_IN_USE, "GroupInUse", EBUSY, 22, "Stop the program that opened it without vfiod.")               \
    X(GROUP_NOT_VIABLE, "GroupNotViable", EBUSY, 23,                                                         \
            "Unbind these devices, or request them together with it. 'vfioctl topology DEVICE' shows why "   \
            "they share a group. To loosen the policy, its rule can let vfiod move them to the vfio driver " \
            "(\"siblings\": \"park\").")                                                                     \
    X(NO_IOMMU_GROUP, "NoIommuGroup", ENXIO, 24,                                                             \
            "The machine has no IOMMU for the device, or it is turned off. On x86, turn it on in the "       \
            "firmware (VT-d, AMD-Vi) and, on Intel, boot with intel_iommu=on.")                              \
    X(HOST_CRITICAL, "HostCritical", EBUSY, 25, "Stop that use first, or choose another device.")            \
    X(BACKEND_UNAVAILABLE, "BackendUnavailable", EOPNOTSUPP, 26,                                             \
            "Request another backend. 'vfioctl status' shows what the kernel supports.")                     \
    X(NODE_MISSING, "NodeMissing", ENXIO, 27,                                                                \
            "Compare /dev/vfio with 'vfioctl status DEVICE'. udev may still be creating the node: try "      \
            "again.")                                                                                        \
    X(RESET_UNSUPPORTED, "ResetUnsupported", EOPNOTSUPP, 28,                                                 \
            "Choose a device with a reset method. To loosen the policy, its rule can accept that the next "  \
            "owner gets the device without a reset (\"reset\": \"optional\").")                              \
    X(BIND_FAILED, "BindFailed", EIO, 29, "See the kernel log (journalctl -k). Everything was restored.")    \
    X(OPEN_FAILED, "OpenFailed", EIO, 30, "See the kernel log (journalctl -k). Everything was restored.")    \
    X(DEVICE_GONE, "DeviceGone", ENODEV, 31,                                                                 \
            "It was unplugged or unbound. 'vfioctl list' shows the devices that exist now.")                 \
    X(TIMED_OUT, "TimedOut", ETIMEDOUT, 32,                                                                  \
            "The kernel does not return from a write. See the kernel log (journalctl -k) and 'vfioctl "      \
            "status DEVICE'.")                                                                               \
    X(LIMIT_EXCEEDED, "LimitExceeded", EDQUOT, 33, "Release claims, or wait for calls to finish.")           \
    X(SHUTTING_DOWN, "ShuttingDown", ESHUTDOWN, 34, "Call again: the daemon restarts.")                      \
    X(INTERNAL, "Internal", EIO, 35, "See the journal of vfiod.service.")                                    \
    X(DEVICE_CHANGED, "DeviceChanged", EPERM, 36,                                                            \
            "The operator must check the card, and then update the tag or put the right card back.")         \
    X(NOT_AUTHORIZED, "NotAuthorized", EACCES, 37,                                                           \
            "Request it again where polkit can ask an authorized person, or contact the operator.")          \
    X(REASON_REQUIRED, "ReasonRequired", EINVAL, 38,                                                         \
            "State what the device is for: option \"reason\" of the call, --reason of vfioctl, reason= in "  \
            "Python.")                                                                                       \
    X(HOST_TAINTED, "HostTainted", EPERM, 39,                                                                \
            "'vfioctl taint' shows what weakens the host, and since when.")                                  \
    X(NOIOMMU_DISABLED, "NoiommuDisabled", EOPNOTSUPP, 40,                                                   \
            "To loosen the policy, the operator can set \"host\": {\"noiommu\": …}, see vfiod-policy(5).")   \
    X(CAPABILITY_REQUIRED, "CapabilityRequired", EPERM, 41, "Run the program with that capability.")         \
    X(SIMULATION, "Simulation", EROFS, 42, "Send the request to the daemon of a real host.")                 \
    X(COOKIE_IN_USE, "CookieInUse", EEXIST, 43, "Use that claim, release it, or choose another cookie.")     \
    X(READ_ONLY, "ReadOnly", EROFS, 44, "Connect to /run/vfiod/org.vfiod.Broker, from this host.")           \
    X(CLAIM_BUSY, "ClaimBusy", EBUSY, 45, "Try again when that is done.")                                    \
    X(DEVICE_BUSY, "DeviceBusy", EBUSY, 46, "Try again when that is done.")                                  \
    X(NO_VIRTUAL_FUNCTIONS, "NoVirtualFunctions", EOPNOTSUPP, 47,                                            \
            "Choose a physical function whose driver can make them: 'vfioctl vf DEVICE' shows how many.")    \
    X(VIRTUAL_FUNCTIONS_FAILED, "VirtualFunctionsFailed", EIO, 48,                                           \
            "See the kernel log (journalctl -k). 'vfioctl vf DEVICE' shows how many there are now.")         \
    X(NOT_SUPPORTED, "NotSupported", EOPNOTSUPP, 49,                                                         \
            "Choose a device of another kind. 'vfioctl list' shows the kind in front of each name.")         \
    X(REQUIREMENT_NOT_MET, "RequirementNotMet", EOPNOTSUPP, 50,                                              \
            "Choose a device that has it: 'vfioctl caps' shows what is known of the devices of this host.")  \
    X(DEVICE_RESERVED, "DeviceReserved", EBUSY, 51,                                                          \
            "Wait until the reservation ends, or choose another device.")                                    \
    X(NO_DEVICE_AVAILABLE, "NoDeviceAvailable", EBUSY, 52,                                                   \
            "Release a device, or ask for other devices. 'vfioctl plan DEVICE' shows what is in the way.")   \
    X(TICKET_INVALID, "TicketInvalid", EACCES, 53, "Reserve a device again ('vfioctl reserve').")            \
    X(NETWORK_FAILED, "NetworkFailed", EOPNOTSUPP, 55,                                                       \
            "See the kernel log (journalctl -k). Everything was restored.")                                  \
    X(NO_INSTANCE, "NoInstance", ENOSPC, 56,                                                                 \
            "Wait until one of them is given back. 'vfioctl types' shows which there are, and how many "     \
            "there "                                                                                         \
            "can be.")
